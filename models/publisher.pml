/* SPDX-License-Identifier: MIT */
/* A publisher and those that subscribe to it, leave, die or are cut at any moment: src/publisher.c over
 * src/slots.c. README.md says what each step stands for, and what is left out. Words and barriers are in
 * slots.pml: here a queue is a ring of descriptors, and another one the slots that are given back.
 *
 * What is built, by -D:
 *	LAG_0, LAG_1      what each of the two subscribers wishes: BLOCK, DROP, LATEST
 *	HOLD_0, HOLD_1    how many slots each may hold
 *	OLDEST            the second one wishes for the oldest message that is available
 *	CHURN             a subscriber leaves or dies at any moment
 *	CUTS              the publisher cuts a subscriber that has no room, at any moment
 *	RENEWALS          how often the memory is renewed, at any moment
 *	LINGER            the publisher does not end before everybody has seen the last message
 *	IDLES             it waits with a slot open until nobody is behind
 *	MESSAGES, COUNT   sizes, see below
 * All other names take one thing away that the source has, or do it in the wrong order: negative controls. */

#define BLOCK 0
#define DROP 1
#define LATEST 2
#ifndef LAG_0
#define LAG_0 BLOCK
#endif
#ifndef LAG_1
#define LAG_1 DROP
#endif
#ifndef HOLD_0
#define HOLD_0 1
#endif
#ifndef HOLD_1
#define HOLD_1 1
#endif
#ifndef MESSAGES
#define MESSAGES 4
#endif
#ifndef COUNT
#define COUNT (HOLD_0 + HOLD_1 + 1) /* slots: one is the reserve */
#endif
#ifndef RENEWALS
#define RENEWALS 0
#endif
#define HOLD_MOST 4

#define lag(s) ((s) -> LAG_1 : LAG_0)
#define hold(s) ((s) -> HOLD_1 : HOLD_0)
#define bit_of(id) (1 << (id))
#ifdef OLDEST
#define from_oldest(s) (s)
#else
#define from_oldest(s) false
#endif

/* A slot's id is its number, and COUNT more in an odd generation of the memory: 8 at most. */
#if RENEWALS
#define IDS (2 * COUNT)
#define parity_of(id) ((id) / COUNT)
#else
#define IDS COUNT
#define parity_of(id) 0
#endif
#define bits_of(generation) ((bit_of(COUNT) - 1) << COUNT * ((generation) & 1))
#define UNMAPPED 255

/* Shared memory: the slots, the rings, the words. */
byte content[IDS];
chan queue[2] = [HOLD_MOST] of { byte, byte, byte, byte }; /* id, number, missed, generation */
chan returns[2] = [HOLD_MOST] of { byte };
byte dropped[2];
byte closed[2];
bit want[2];

/* The kernel's: the publisher's bell; what comes over each control socket: who asks to be admitted, and with what
 * answer and memory; new memory, with its generation; the hang-up. */
bit bell;
bit asks[2];
byte answer[2]; /* 1: admitted; 2: refused */
byte first_memory[2];
chan memories[2] = [2] of { byte };
bit hangup[2];
bit dies[2];
#ifdef CHURN
#define UNLESS_DEAD(s) unless { dies[s] }
#else
#define UNLESS_DEAD(s)
#endif

/* Only to be asserted: who was cut; what was published, the newest that was dropped for each, who has seen the last
 * message. */
bit cut[2];
byte published;
byte last_dropped[2];
bit satisfied[2];

/* The pool */

#define in_use (held[0] | held[1] | pending * bit_of(pending_id))
#define is_current(id) (!RENEWALS || parity_of(id) == (generation & 1))
#define has_room(s, n) (n_held[s] + (n) <= hold(s))
#define in_the_way(s) (member[s] && lag(s) == BLOCK && !has_room(s, pending + 1))
#define is_behind(s) (member[s] && lag(s) == LATEST && missed[s] && number[newest] == published)

#if RENEWALS && !defined(IDS_AS_THEY_ARE)
#define id_of(s) ((id + COUNT * ((known[s] ^ told_of[s]) & 1)) % IDS)
#else
#define id_of(s) id
#endif

inline put_idle()
{
	if
	:: !(in_use & bit_of(id)) && is_current(id) -> idle ! id
	:: else
	fi
}

inline collect(s)
{
	d_step {
		do
		:: member[s] && len(returns[s]) ->
			returns[s] ? id;
			id = id_of(s);
			assert(held[s] & bit_of(id));
			held[s] = held[s] & ~bit_of(id);
			n_held[s]--;
			put_idle()
		:: else -> break
		od;
		id = 0
	}
}

/* A subscriber counts the memories on its own: it may not get them all. */
inline send_memory(s)
{
	if
	:: known[s] != generation ->
#ifndef MEMORY_NOT_SENT
		memories[s] ! generation;
#endif
		known[s] = generation;
		told_of[s]++
	:: else
	fi
}

/* A slot that was idle is not any more. The newest message may be in the memory before, for who was not told of
 * another one. */
inline lend(s, slot, n_missed)
{
	if
	:: is_current(slot) -> send_memory(s)
	:: else
	fi;
	if
	:: idle ?? [eval(slot)] -> idle ?? eval(slot)
	:: else
	fi;
	held[s] = held[s] | bit_of(slot);
	n_held[s]++;
	queue[s] ! (slot) % COUNT, number[slot], n_missed, told_of[s];
	missed[s] = 0
}

/* rf__slots_publish(), for one consumer */
inline lend_or_miss(s)
{
	if
	:: !has_room(s, 1) -> collect(s)
	:: else
	fi;
	d_step {
		if
		:: member[s] && has_room(s, 1) -> lend(s, pending_id, missed[s])
		:: member[s] && !has_room(s, 1) ->
			assert(lag(s) != BLOCK);
			missed[s]++;
			total[s]++;
			last_dropped[s] = published;
#ifndef NO_DROPPED
			dropped[s] = total[s]
#endif
		:: else
		fi
	}
}

inline publish()
{
	d_step {
		published++;
		newest = pending_id;
		number[newest] = published
	};
	lend_or_miss(0);
	lend_or_miss(1);
	d_step { pending = 0; id = newest; put_idle(); id = 0 }
}

/* The newest message, to one that missed it and has room now. */
inline refresh(s)
{
	collect(s);
	if
	:: is_behind(s) && has_room(s, 1) ->
#ifdef DROPPED_AFTER_TAIL
		d_step {
			last_dropped[s] = (missed[s] > 1 -> published - 1 : 0);
			lend(s, newest, missed[s] - 1)
		};
		total[s]--;
		dropped[s] = total[s]
#else
		d_step {
			total[s]--;
			last_dropped[s] = (missed[s] > 1 -> published - 1 : 0);
#ifndef NO_DROPPED
			dropped[s] = total[s]
#endif
		};
		d_step { lend(s, newest, missed[s] - 1) }
#endif
	:: else
	fi
}

/* Gone or cut: what only it held is idle at once. */
inline forget(s)
{
	d_step {
		member[s] = 0;
		do
		:: id < IDS && (held[s] & bit_of(id)) ->
			held[s] = held[s] & ~bit_of(id);
			put_idle();
			id++
		:: id < IDS && !(held[s] & bit_of(id)) -> id++
		:: else -> break
		od;
		n_held[s] = 0;
		id = 0
	}
}

/* Membership */

inline find(which)
{
	id = 0;
	do
	:: id < IDS && !(number[id] == which && is_current(id)) -> id++
	:: else -> break
	od
}

/* What is still there: the newest, or a run up to it. */
inline catch_up(s)
{
	at = published + 1;
	do
	:: at > 1 && has_room(s, published + 2 - at + pending) && (at > published || from_oldest(s)) ->
		find(at - 1);
		if
		:: id < IDS -> at--
		:: else -> break
		fi
	:: else -> break
	od;
	do
	:: at <= published ->
		find(at);
#ifdef GAPS
		if
		:: at == published && n_held[s]
		:: else -> lend(s, id, 0)
		fi;
#else
		lend(s, id, 0);
#endif
		at++
	:: else -> break
	od;
	at = 0;
	id = 0
}

#ifdef NO_RESERVE
#define RESERVE 0
#else
#define RESERVE 1
#endif
#define is_admissible(s) (member[1 - s] * hold(1 - s) + hold(s) + RESERVE <= COUNT)

inline admit(s)
{
	d_step {
		asks[s] = 0;
		if
		:: is_admissible(s) && !ended ->
			member[s] = 1;
			known[s] = generation;
			first_memory[s] = generation;
			catch_up(s);
			answer[s] = 1
		:: else -> answer[s] = 2
		fi
	}
}

inline process(s)
{
	if
	:: hangup[s] && member[s] -> forget(s)
	:: asks[s] -> admit(s)
	:: else
	fi;
	if
	:: is_behind(s) -> refresh(s)
	:: else
	fi
}

#define socket_says(s) (hangup[s] && member[s] || asks[s])
#define has_news(s) (socket_says(s) || is_behind(s))

#define ALL_BACK (!(in_use & bits_of(generation + 1)))
#if defined(RENEW_TOO_EARLY)
#define may_renew (!pending)
#elif defined(RENEW_WHILE_PENDING)
#define may_renew ALL_BACK
#else
#define may_renew (!pending && ALL_BACK)
#endif

/* As if somebody else had come and gone. */
inline renew_maybe()
{
#if RENEWALS
	if
	:: d_step {
		generation < RENEWALS && may_renew ->
		generation++;
		do
		:: len(idle) -> idle ? _
		:: else -> break
		od;
		id = COUNT * (generation & 1);
		do
		:: id < COUNT * ((generation & 1) + 1) ->
			number[id] = 0;
			content[id] = 0;
			idle ! id;
			id++
		:: else -> break
		od;
		id = 0
	}
	:: true
	fi
#else
	skip
#endif
}

/* Waiting */

inline arm(s)
{
	if
#if defined(ONLY_BLOCKERS_ARMED)
	:: in_the_way(s) ->
#elif defined(ROOM_UNSEEN)
	:: in_the_way(s) || is_behind(s) && !has_room(s, 1) ->
#else
	:: in_the_way(s) || is_behind(s) ->
#endif
		want[s] = 1;
		collect(s)
	:: else
	fi
}

inline cut_off(s)
{
	atomic { member[s] && !has_room(s, 1) -> cut[s] = 1; closed[s] = 2 };
	forget(s)
}

#ifdef ROOM_UNSEEN
#define can_refresh(s) false
#else
#define can_refresh(s) (is_behind(s) && has_room(s, 1))
#endif
#define is_content(s) (!member[s] || satisfied[s] || lag(s) == DROP)
#define is_over (sent == MESSAGES && is_content(0) && is_content(1))

inline sleep()
{
	arm(0);
	arm(1);
	if
	:: can_refresh(0) || can_refresh(1)
	:: !idling && sent < MESSAGES && !in_the_way(0) && !in_the_way(1)
	:: else ->
		if
		:: atomic { bell || socket_says(0) || socket_says(1) -> bell = 0 }
		:: is_over
#ifdef CUTS
		:: cut_off(0)
		:: cut_off(1)
#endif
		fi
	fi;
	atomic { want[0] = 0; want[1] = 0 };
	process(0);
	process(1)
}

/* A part of the question who is in the way. */
inline tell_of_memory(s)
{
	d_step {
		if
		:: member[s] && lag(s) == BLOCK && !in_the_way(s) -> send_memory(s)
		:: else
		fi
	}
}

/* With nobody in the way there is always an idle slot; it is written at once. */
inline reserve()
{
	do
	:: in_the_way(0) || in_the_way(1) ->
		collect(0);
		collect(1);
		tell_of_memory(0);
		tell_of_memory(1);
		if
		:: in_the_way(0) || in_the_way(1) -> sleep(); renew_maybe()
		:: else
		fi
	:: else -> break
	od;
	if
	:: !len(idle) -> collect(0); collect(1)
	:: else
	fi;
	d_step {
		assert(len(idle));
		idle ? pending_id;
		pending = 1;
		sent++;
		number[pending_id] = 0;
		content[pending_id] = sent
	}
}

/* The application has a slot open, and waits for something else in its own loop. */
inline idle_maybe()
{
	if
	:: idling = 1;
		do
		:: is_behind(0) || is_behind(1) -> sleep()
		:: else -> break
		od;
		idling = 0
	:: true
	fi
}

inline look_around()
{
	if
	:: has_news(0) || has_news(1) -> process(0); process(1)
#ifdef CUTS
	:: cut_off(0)
	:: cut_off(1)
#endif
	:: true
	fi;
	renew_maybe();
	renew_maybe()
}

inline settle(s)
{
	collect(s);
	if
	:: member[s] -> forget(s)
	:: else
	fi
}

proctype publisher()
{
	byte held[2], n_held[2], missed[2], total[2], known[2], told_of[2];
	bit member[2], ended, pending, idling;
	byte number[IDS];
	byte generation, newest, pending_id, sent, id, at;
	chan idle = [2 * COUNT] of { byte };
	d_step {
		do
		:: id < COUNT -> idle ! id; id++
		:: else -> break
		od;
		id = 0
	};
	do
	:: sent < MESSAGES ->
		look_around();
		reserve();
#ifdef IDLES
		idle_maybe();
#endif
		look_around();
		publish()
	:: else -> break
	od;
#ifdef LINGER
	do
	:: is_over -> break
	:: else -> sleep()
	od;
#endif
	process(0);
	process(1);
	ended = 1;
	closed[0] = closed[0] + !closed[0];
	closed[1] = closed[1] + !closed[1];
	/* not in the source: who is left is waited for, and then all slots are idle */
	do
	:: asks[0] -> admit(0)
	:: asks[1] -> admit(1)
	:: hangup[0] && hangup[1] -> break
	od;
	settle(0);
	settle(1);
	assert(!in_use && len(idle) >= COUNT)
}

/* A subscriber */

#if RENEWALS
#define lies_in(id) ((id) % COUNT + COUNT * (memory[parity_of(id)] & 1))
#else
#define lies_in(id) (id)
#endif

inline return_slot(s)
{
	returns[s] ! id;
	bell = bell || want[s];
	id = 0
}

/* The memory of the generation before is unmapped as soon as nothing of it is borrowed. */
inline unmap_old()
{
	if
	:: RENEWALS && !(mine & bits_of(generation + 1)) -> memory[1 - (generation & 1)] = UNMAPPED
	:: else
	fi
}

/* One memory for each message on the socket, in turn, until it is the one that the slot is in. */
inline map_new(s)
{
	do
	:: generation != era ->
#ifdef ONE_AHEAD_ONLY
		assert(generation + 1 == era);
#endif
		assert(len(memories[s]));
		generation++;
		assert(!(mine & bits_of(generation)));
		memories[s] ? memory[generation & 1]
	:: else -> break
	od
}

/* Messages are told apart by their numbers; what is between the last one and this is told as missed. */
inline take(s)
{
	d_step {
		queue[s] ? id, now, missed, era;
		map_new(s);
		id = id + COUNT * (generation & 1);
		assert(id < IDS && !(mine & bit_of(id)));
		assert(content[lies_in(id)] == now || cut[s]);
		assert(!last || now == last + 1 + unseen + missed);
		mine = mine | bit_of(id);
		n_mine++;
		numbers[id] = now;
		last = now;
		satisfied[s] = (now == MESSAGES);
		told = told + missed;
		unmap_old();
		now = 0;
		unseen = 0;
		missed = 0;
		era = 0;
		id = 0
	}
}

inline give_back_unseen(s)
{
	d_step {
		queue[s] ? id, _, missed, era;
		map_new(s);
		id = id + COUNT * (generation & 1);
		era = 0;
		unseen = unseen + 1 + missed;
		told = told + missed;
		missed = 0;
		return_slot(s)
	}
}

/* The newest that is queued; unless something newer was dropped, but not twice in a row. */
inline take_newest(s)
{
#ifndef DROPPED_BEFORE_TAIL
	d_step { behind = dropped[s]; too_old = last_dropped[s] };
#endif
	do
	:: seen > 1 -> give_back_unseen(s); seen--
	:: else -> break
	od;
	atomic {
		queue[s] ? <_, now, missed, _>;
		if
		:: final || passed || behind == told + missed ->
			assert(final || passed || now > too_old);
			passed = 0;
			take(s)
		:: else ->
			passed = 1;
			give_back_unseen(s)
		fi;
		now = 0;
		missed = 0;
		behind = 0;
		too_old = 0
	}
}

inline release(s)
{
	d_step {
		assert(content[lies_in(id)] == numbers[id] || cut[s]);
		numbers[id] = 0;
		mine = mine & ~bit_of(id);
		n_mine--;
		unmap_old();
		return_slot(s)
	}
}

proctype subscriber(bit s)
{
	byte mine, n_mine, last, told, unseen, id, now, missed, era, seen, behind, too_old, generation;
	byte numbers[IDS];
	byte memory[2] = UNMAPPED;
	byte final;
	bit passed;
	{
		asks[s] = 1;
		if
		:: atomic {
			answer[s] == 1 ->
			memory[0] = first_memory[s]
		}
		:: answer[s] == 2 -> goto over
		fi;
		do
		:: atomic {
			mine ->
			do
			:: !(mine & bit_of(id)) -> id++
			:: mine & bit_of(id) -> break
			:: (mine >> (id + 1)) != 0 -> id++
			od;
			release(s)
		}
		:: n_mine < hold(s) ->
			nempty(queue[s]) || closed[s];
#ifdef DROPPED_BEFORE_TAIL
			d_step { behind = dropped[s]; too_old = last_dropped[s] };
#endif
			final = closed[s];
			seen = len(queue[s]);
			if
			:: final == 2 -> goto over
			:: final != 2 && seen && lag(s) == LATEST -> take_newest(s)
			:: final != 2 && seen && lag(s) != LATEST -> take(s)
			:: final != 2 && !seen && final -> break
			:: else
			fi;
			seen = 0
		od;
		assert(!last || last + unseen + dropped[s] - told == published)
	} UNLESS_DEAD(s);
over:
	hangup[s] = 1
}

#ifdef CHURN
proctype churn(bit s)
{
	dies[s] = 1
}
#endif

init
{
	atomic {
		run publisher();
		run subscriber(0);
		run subscriber(1);
#ifdef CHURN
		run churn(1)
#endif
	}
}
