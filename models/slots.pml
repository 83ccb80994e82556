/* SPDX-License-Identifier: MIT */
/* Lending slots and getting them back: src/slots.c between one producer and one or two consumers, word by word.
 * README.md says what each step stands for, and what is left out.
 *
 * What is built, by -D:
 *	TWO        two consumers; else one: a channel
 *	BLOCKING   how many of them block the producer, the first ones; the others miss messages. All is the default
 *	HOSTILE    the second one stores any head and any return entry at any time
 *	DEATH      a consumer dies at any moment
 *	CUTS       the producer cuts a consumer that it waits for, at any moment
 *	MESSAGES, SLOTS, HOLD, AREA, RESERVE, CANCELS    sizes, see below
 * All other names take one thing away that the source has, or do it in the wrong order: negative controls.
 *
 * Who comes and goes, what is dropped and what is renewed is in publisher.pml. */

#ifdef TWO
#define CONSUMERS 2
#else
#define CONSUMERS 1
#endif
#ifndef MESSAGES
#define MESSAGES 4
#endif
#ifndef HOLD
#define HOLD 2 /* what a consumer may hold, queued and borrowed */
#endif
#ifndef AREA
#define AREA 2 /* descriptors, and return entries: a power of two, HOLD or more */
#endif
#ifndef RESERVE
#define RESERVE 1 /* what the producer may have open and committed at a time */
#endif
#ifndef SLOTS
#define SLOTS (CONSUMERS * HOLD + RESERVE) /* admission sees to that */
#endif
#ifndef CANCELS
#define CANCELS 0 /* reservations that are given back unpublished */
#endif

/* Positions count messages, are free-running modulo 256, and wrap in every run. */
#define START 254
#define minus(a, b) (((a) - (b)) & 255)
#define crosses(before, after, want) (minus(after, want) < minus(after, before))
#define bit_of(slot) (1 << (slot))

#ifndef BLOCKING
#define BLOCKING CONSUMERS
#endif
#define blocks(c) ((c) < BLOCKING)
#ifdef HOSTILE
#define HONEST 1
#else
#define HONEST CONSUMERS
#endif

/* Memory as all see it. */
#define TAIL(c) (c)
#define CLOSED(c) (2 + (c))
#define SPACE_WANT(c) (4 + (c))
#define HEAD(c) (6 + (c))
#define DESCRIPTOR(c, at) (8 + (c) * AREA + ((at) & (AREA - 1)))
#define ENTRY(c, at) (8 + 2 * AREA + (c) * AREA + ((at) & (AREA - 1)))
#define PAYLOAD(slot) (8 + 4 * AREA + (slot))
byte memory[8 + 4 * AREA + SLOTS];

#define make_descriptor(slot, number, missed) ((slot) | (number) << 2 | (missed) << 5)
#define slot_in(descriptor) ((descriptor) & 3)
#define number_in(descriptor) ((descriptor) >> 2 & 7)
#define missed_in(descriptor) ((descriptor) >> 5)

/* What a thread stores gets there some time later; in that order in each lane, in any order in different ones: a
 * thread has one for words, one for what it stores beside them. */
#define WORDS(t) (2 * (t))
#define BESIDE(t) (2 * (t) + 1)
#define PRODUCER CONSUMERS
chan lane[2 * CONSUMERS + 2] = [3] of { byte, byte };

/* The kernel's: the bell of the producer, and the hang-ups; who dies. */
bit bell;
bit hangup[CONSUMERS];
bit dies[CONSUMERS];
#ifdef DEATH
#define UNLESS_DEAD(c) unless { dies[c] }
#else
#define UNLESS_DEAD(c)
#endif

#ifdef ROOM_FROM_HEAD
#define returned(c) seen_head[c]
#else
#define returned(c) collected[c]
#endif
#ifdef TWO
#define in_use (opened | committed | held[0] | held[1])
#else
#define in_use (opened | committed | held[0])
#endif
#define ALL (bit_of(SLOTS) - 1)
#define has_room(c, n) (minus(lent[c], returned(c)) + (n) <= HOLD)
#define in_the_way(c) (member[c] && blocks(c) && !has_room(c, pending + 1))

/* Only to be asserted: who keeps to the protocol; whose slots may be written although it may look at them; what
 * it missed at the end; who gave everything back, and how many are done. */
bit honest[CONSUMERS];
bit cut[CONSUMERS];
byte untold[CONSUMERS];
bit clean[CONSUMERS];
byte over;

inline store_beside(t, word, value)
{
	lane[BESIDE(t)] ! word, value
}

inline store_relaxed(t, word, value)
{
	lane[WORDS(t)] ! word, value
}

/* Released: after what was stored beside it. */
inline store_release(t, word, value)
{
	lane[BESIDE(t)] ! word, value
}

/* Sequentially consistent: it and all earlier stores are in memory before the thread goes on. */
inline store_ordered(t, word, value)
{
	atomic {
		empty(lane[WORDS(t)]) && empty(lane[BESIDE(t)]) -> memory[word] = value
	}
}

#ifdef TAIL_RELAXED
#define store_tail store_relaxed
#else
#define store_tail store_release
#endif
#ifdef HEAD_RELAXED
#define store_head store_relaxed
#else
#define store_head store_ordered
#endif
#ifdef SPACE_WANT_RELAXED
#define store_space_want store_relaxed
#else
#define store_space_want store_ordered
#endif

/* The producer */

inline leave_consumer(c)
{
	member[c] = 0;
	d_step {
#if defined(HOLDERS_KEPT)
		skip
#elif defined(CLEARED_FOR_ALL)
		held[CONSUMERS - 1 - c] = held[CONSUMERS - 1 - c] & ~held[c];
		held[c] = 0
#else
		held[c] = 0
#endif
	}
}

/* One return entry. An honest consumer is never found at fault. */
inline take_returned(c)
{
	atomic {
		id = memory[ENTRY(c, collected[c])];
#ifdef LOADED_TWICE
		okay = id < SLOTS && (held[c] & bit_of(id))
	};
	atomic {
		id = memory[ENTRY(c, collected[c])];
		if
		:: okay && id < SLOTS ->
#else
		if
#ifdef RETURN_UNCHECKED
		:: id < SLOTS ->
#else
		:: id < SLOTS && (held[c] & bit_of(id)) ->
#endif
#endif
			held[c] = held[c] & ~bit_of(id);
#if defined(FIRST_RETURN_FREES) || defined(RETURN_UNCHECKED) || defined(LOADED_TWICE)
			held[CONSUMERS - 1 - c] = held[CONSUMERS - 1 - c] & ~bit_of(id);
#endif
			collected[c]++
		:: else ->
			assert(!honest[c]);
			cut[c] = 1;
			leave_consumer(c)
		fi;
		id = 0
	}
}

inline collect(c)
{
#ifdef ENTRY_BEFORE_HEAD
	early = memory[ENTRY(c, collected[c])];
#endif
	atomic {
		head = memory[HEAD(c)];
		if
		:: minus(head, collected[c]) > minus(tail[c], collected[c]) ->
			assert(!honest[c]);
			cut[c] = 1;
			leave_consumer(c)
		:: else
#ifdef ROOM_FROM_HEAD
			-> seen_head[c] = head
#endif
		fi
	};
#ifdef ROOM_FROM_HEAD
	do
	:: member[c] && collected[c] != head && (in_use == ALL || memory[CLOSED(c)]) -> take_returned(c)
#elif defined(ENTRY_BEFORE_HEAD)
	if
	:: atomic {
		member[c] && collected[c] != head ->
		assert(held[c] & bit_of(early));
		held[c] = held[c] & ~bit_of(early);
		collected[c]++
	}
	:: else
	fi;
	early = 0;
	do
	:: member[c] && collected[c] != head -> take_returned(c)
#else
	do
	:: member[c] && collected[c] != head -> take_returned(c)
#endif
	:: else -> break
	od;
	head = 0
}

inline collect_for(c, n)
{
	if
	:: member[c] && !has_room(c, n) -> collect(c)
	:: else
	fi
}

/* A message for one consumer, after which the tail is still to be stored. */
inline lend(c)
{
	collect_for(c, 1);
	if
	:: member[c] && has_room(c, 1) ->
		atomic {
			store_beside(PRODUCER, DESCRIPTOR(c, lent[c]), make_descriptor(slot, number, missed[c]));
			held[c] = held[c] | bit_of(slot);
			lent[c]++;
			missed[c] = 0
		}
	:: member[c] && !has_room(c, 1) ->
		atomic {
			assert(!blocks(c));
#ifndef MISSED_FORGOTTEN
			missed[c]++;
#endif
			skip
		}
	:: else
	fi
}

inline store_tail_of(c)
{
	if
	:: member[c] && tail[c] != lent[c] ->
		atomic { store_tail(PRODUCER, TAIL(c), lent[c]); tail[c] = lent[c] }
	:: else
	fi
}

inline publish()
{
	do
	:: atomic { ready ? slot, number };
		lend(0);
#ifdef TWO
		lend(1);
#endif
		atomic { committed = committed & ~bit_of(slot); pending--; slot = 0; number = 0 }
	:: empty(ready) -> break
	od;
	store_tail_of(0);
#ifdef TWO
	store_tail_of(1);
#endif
	/* one barrier for all; what it is for is in fanout.pml */
	empty(lane[WORDS(PRODUCER)]) && empty(lane[BESIDE(PRODUCER)])
}

inline arm(c)
{
	if
	:: in_the_way(c) ->
		store_space_want(PRODUCER, SPACE_WANT(c), (lent[c] + pending + 1 - HOLD) & 255);
#ifndef NO_LOOK_FOR_SPACE
		collect(c)
#endif
	:: else
	fi
}

/* A whole ring back; when that gets to memory is wakeup.pml's matter. */
inline disarm(c)
{
	memory[SPACE_WANT(c)] = (collected[c] - AREA) & 255
}

inline take_in(c)
{
	if
	:: hangup[c] && member[c] -> leave_consumer(c)
	:: else
	fi
}

inline cut_off(c)
{
	if
	:: in_the_way(c) ->
		cut[c] = 1;
		memory[CLOSED(c)] = 2;
		leave_consumer(c)
	:: else
	fi
}

#ifdef TWO
#define none_in_the_way (!in_the_way(0) && !in_the_way(1))
#define hung_up (hangup[0] && member[0] || hangup[1] && member[1])
#else
#define none_in_the_way (!in_the_way(0))
#define hung_up (hangup[0] && member[0])
#endif

/* Waits for the first one that is in the way. */
inline wait()
{
	publish();
#ifdef ONE_IS_FORGOTTEN
	first = 0;
#else
	first = (in_the_way(0) -> 0 : CONSUMERS - 1);
#endif
	arm(first);
	if
#ifdef ONE_IS_FORGOTTEN
	:: none_in_the_way
#else
	:: !in_the_way(first)
#endif
	:: else ->
		if
		:: atomic {
			bell || hung_up ->
			bell = 0;
			take_in(0);
#ifdef TWO
			take_in(1)
#endif
		}
#ifdef CUTS
		:: atomic {
			empty(lane[WORDS(PRODUCER)]) && empty(lane[BESIDE(PRODUCER)]) ->
			cut_off(first)
		}
#endif
		fi
	fi;
	disarm(first);
	first = 0
}

/* With nobody in the way, and no more reserved than agreed, there is always an idle slot. */
inline reserve()
{
	do
	:: true ->
		collect_for(0, pending + 1);
#ifdef TWO
		collect_for(1, pending + 1);
#endif
		if
		:: none_in_the_way -> break
		:: else -> wait()
		fi
	od;
	if
	:: in_use == ALL ->
		if
		:: member[0] -> collect(0)
		:: else
		fi;
#ifdef TWO
		if
		:: member[1] -> collect(1)
		:: else
		fi
#endif
	:: else
	fi;
	atomic {
		assert(in_use != ALL);
		do
		:: in_use & bit_of(slot) -> slot++
		:: else -> break
		od;
		opened = opened | bit_of(slot);
		pending++;
		slot = 0
	}
}

inline commit()
{
	atomic {
		do
		:: !(opened & bit_of(slot)) -> slot++
		:: opened & bit_of(slot) -> break
		:: (opened >> (slot + 1)) != 0 -> slot++
		od;
		sent++;
		store_beside(PRODUCER, PAYLOAD(slot), sent);
		opened = opened & ~bit_of(slot);
		committed = committed | bit_of(slot);
		ready ! slot, sent;
		slot = 0
	}
}

inline cancel()
{
	atomic {
		do
		:: !(opened & bit_of(slot)) -> slot++
		:: opened & bit_of(slot) -> break
		:: (opened >> (slot + 1)) != 0 -> slot++
		od;
		opened = opened & ~bit_of(slot);
		pending--;
		cancels++;
		slot = 0
	}
}

inline close(c)
{
	if
	:: member[c] -> atomic { store_ordered(PRODUCER, CLOSED(c), 1); untold[c] = missed[c] }
	:: else
	fi
}

/* Everybody has gone or given back, and all slots are idle. */
inline settle(c)
{
	if
	:: clean[c] && member[c] -> collect(c); assert(!held[c] && collected[c] == lent[c])
	:: else
	fi;
	atomic {
		if
		:: member[c] -> leave_consumer(c)
		:: else
		fi
	}
}

proctype producer()
{
	/* Bitmaps of slots: open, committed, held by each consumer. A slot in none of them is idle. */
	byte opened, committed, held[CONSUMERS];
	chan ready = [RESERVE] of { byte, byte };
	byte lent[CONSUMERS] = START;
	byte tail[CONSUMERS] = START;
	byte collected[CONSUMERS] = START;
	byte missed[CONSUMERS];
	bit member[CONSUMERS] = 1;
	byte sent, pending, slot, number, id, head, cancels, first;
#ifdef ROOM_FROM_HEAD
	byte seen_head[CONSUMERS] = START;
#endif
#ifdef ENTRY_BEFORE_HEAD
	byte early;
#endif
#ifdef LOADED_TWICE
	bit okay;
#endif
	do
	:: sent + (pending - len(ready)) < MESSAGES && pending < RESERVE -> reserve()
	:: opened && cancels < CANCELS -> cancel()
	:: opened -> commit()
	:: nempty(ready) -> publish()
	:: sent == MESSAGES && !pending -> break
	od;
	close(0);
#ifdef TWO
	close(1);
#endif
	/* not in the source */
	atomic { over == HONEST -> over = 0 };
	settle(0);
#ifdef TWO
	settle(1);
#endif
	assert(!in_use)
}

/* The consumer */

inline rx_refresh(c)
{
	closed = memory[CLOSED(c)];
	atomic {
		seen_tail = memory[TAIL(c)];
		final = closed != 0;
		assert(minus(seen_tail, stored) <= HOLD || cut[c])
	}
#ifndef CUT_IS_DRAINED
	;
	if
	:: closed == 2 -> goto gone
	:: else
	fi
#endif
}

/* The descriptor is the one that was lent, and nobody writes the slot meanwhile. */
inline rx_take(c)
{
	atomic {
		last = memory[DESCRIPTOR(c, position)];
		position++;
		slot = slot_in(last);
		if
		:: !cut[c] ->
			assert(slot < SLOTS && !(mine & bit_of(slot)));
			assert(number_in(last) == number + 1 + missed_in(last));
			assert(!blocks(c) || !missed_in(last))
		:: else
		fi;
		number = number_in(last);
		last = 0
	};
	atomic {
		assert(memory[PAYLOAD(slot)] == number || cut[c] && closed != 2);
		mine = mine | bit_of(slot);
		numbers[slot] = number;
		slot = 0
	}
}

/* Any of those that are borrowed; it was not written since. */
inline rx_release(c)
{
	atomic {
		do
		:: !(mine & bit_of(slot)) -> slot++
		:: mine & bit_of(slot) -> break
		:: (mine >> (slot + 1)) != 0 -> slot++
		od;
		assert(memory[PAYLOAD(slot)] == numbers[slot] || cut[c]);
		numbers[slot] = 0;
		mine = mine & ~bit_of(slot)
	};
#ifdef HEAD_BEFORE_ENTRY
	atomic { released++; before = stored; stored = released };
	store_ordered(c, HEAD(c), stored);
	store_beside(c, ENTRY(c, released - 1), slot);
	slot = 0;
	kick_if_due(c)
#else
	atomic {
		store_beside(c, ENTRY(c, released), slot);
		released++;
		slot = 0
	}
#endif
}

inline kick_if_due(c)
{
	atomic {
		if
		:: crosses(before, stored, memory[SPACE_WANT(c)]) -> bell = 1
		:: else
		fi;
		before = 0
	}
}

inline give_back(c)
{
	if
	:: atomic { released != stored -> before = stored; stored = released };
		store_head(c, HEAD(c), stored);
		kick_if_due(c)
	:: else
	fi
}

/* Borrows, and gives back in any order, in batches or one by one; waits with some of them still borrowed. */
proctype consumer(byte c)
{
	byte position = START, released = START, stored = START, seen_tail = START, before;
	byte mine, slot, number, last, closed;
	byte numbers[SLOTS];
	bit final;
	{
		do
		:: mine -> rx_release(c)
		:: released != stored -> give_back(c)
		:: position != seen_tail -> rx_take(c)
		:: position == seen_tail && final -> break
		:: position == seen_tail && !final && minus(position, released) <= HOLD - RESERVE ->
			give_back(c);
			memory[TAIL(c)] != seen_tail || memory[CLOSED(c)];
			rx_refresh(c)
		od;
		atomic {
			assert(number + untold[c] == MESSAGES || cut[c]);
			final = 0
		};
		do
		:: mine -> rx_release(c)
		:: !mine -> give_back(c); break
		od;
		atomic {
			empty(lane[WORDS(c)]) && empty(lane[BESIDE(c)]) ->
			clean[c] = 1;
			goto gone
		}
	} UNLESS_DEAD(c);
gone:
	atomic { hangup[c] = 1; over++ }
}

#ifdef HOSTILE
proctype hostile(byte c)
{
	byte value;
end:
	do
	:: atomic {
		select(value : 0 .. MESSAGES + 1);
		memory[HEAD(c)] = (START + value) & 255;
		value = 0
	}
	:: atomic { select(value : 0 .. SLOTS); memory[ENTRY(c, 0)] = value; value = 0 }
#if AREA > 1
	:: atomic { select(value : 0 .. SLOTS); memory[ENTRY(c, 1)] = value; value = 0 }
#endif
	:: hangup[c] = 1
	od
}
#endif

/* What memory does by itself, at any time. */
#define drain(l) atomic { lane[l] ? word, value -> memory[word] = value; word = 0; value = 0 }
active proctype memory_system()
{
	byte word, value;
end:
	do
	:: drain(0)
	:: drain(1)
	:: drain(2)
	:: drain(3)
#ifdef TWO
	:: drain(4)
	:: drain(5)
#endif
	od
}

#ifdef DEATH
active proctype death()
{
	if
	:: dies[0] = 1
#ifdef TWO
	:: dies[1] = 1
#endif
	fi
}
#endif

init
{
	byte i;
	atomic {
		for (i : 0 .. CONSUMERS - 1) {
			honest[i] = 1;
			memory[TAIL(i)] = START;
			memory[HEAD(i)] = START;
			memory[SPACE_WANT(i)] = START
		}
#ifdef HOSTILE
		honest[1] = 0;
#endif
		i = 0;
		run producer();
		run consumer(0);
#if defined(HOSTILE)
		run hostile(1)
#elif defined(TWO)
		run consumer(1)
#endif
	}
}
