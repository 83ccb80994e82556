/* SPDX-License-Identifier: MIT */
/* One publisher and two subscribers that all sleep: src/slots.c and src/membership.c, where several rings share one
 * barrier. The publisher stores the tails of both, passes it, and looks at the wants of both; and before it sleeps it
 * stores its wants in both, passes it, and looks at the heads of both. README.md says what each step stands for.
 *
 * What is built, by -D:
 *	ASYMMETRIC        with how many of the two the asymmetric fence was agreed on, the first ones
 *	MESSAGES, HOLD    sizes, see below
 * All other names take one thing away that the source has, or do it in the wrong order: negative controls. */

#ifndef ASYMMETRIC
#define ASYMMETRIC 0
#endif
#ifndef MESSAGES
#define MESSAGES 3
#endif
#ifndef HOLD
#define HOLD 1
#endif
#define asymmetric(r) ((r) < ASYMMETRIC)

/* Positions count messages, are free-running modulo 256, and wrap in every run. */
#define START 254
#define minus(a, b) (((a) - (b)) & 255)
#define crosses(before, after, want) (minus(after, want) < minus(after, before))

/* Memory as all see it. Stores of the same word get there in order, of different ones in any. */
#define TAIL(r) (r)
#define SPACE_WANT(r) (2 + (r))
#define HEAD(r) (4 + (r))
#define DATA_WANT(r) (6 + (r))
#define WORDS 8
byte memory[WORDS] = START;
chan lane[WORDS] = [2] of { byte };

/* The kernel's. */
bit bell[2];
bit publisher_bell;
bit over;

/* Of a release: what it covers is not here, see slots.pml. */
#define store_release(word, value) lane[word] ! value

#define publisher_is_empty (empty(lane[TAIL(0)]) && empty(lane[TAIL(1)]) && \
	empty(lane[SPACE_WANT(0)]) && empty(lane[SPACE_WANT(1)]))
#define subscriber_is_empty(r) (empty(lane[HEAD(r)]) && empty(lane[DATA_WANT(r)]))

/* Sequentially consistent: it is in memory, and what was stored before, when the thread goes on. */
#define store_ordered(is_empty, word, value) atomic { is_empty -> memory[word] = value }

/* What memory does by itself, at any time. */
#define drain(word) atomic { lane[word] ? value -> memory[word] = value; value = 0 }
active proctype memory_system()
{
	byte value;
end:
	do
	:: drain(TAIL(0))
	:: drain(TAIL(1))
	:: drain(SPACE_WANT(0))
	:: drain(SPACE_WANT(1))
	:: drain(HEAD(0))
	:: drain(HEAD(1))
	:: drain(DATA_WANT(0))
	:: drain(DATA_WANT(1))
	od
}

/* The publisher */

inline show_tail(r)
{
	if
	:: lent[r] != shown[r] -> store_release(TAIL(r), lent[r])
	:: else
	fi
}

inline heed(r)
{
	atomic {
		if
		:: crosses(shown[r], lent[r], memory[DATA_WANT(r)]) -> bell[r] = 1
		:: else
		fi;
		shown[r] = lent[r]
	}
}

inline pass_barrier()
{
#ifndef NO_BARRIER
	if
	:: ASYMMETRIC < 2 -> publisher_is_empty
	:: else
	fi
#else
	skip
#endif
}

inline publish()
{
	atomic {
		sent++;
		lent[0] = lent[0] + (minus(lent[0], returned[0]) < HOLD);
		lent[1] = lent[1] + (minus(lent[1], returned[1]) < HOLD)
	};
	show_tail(0);
#ifdef BARRIER_TOO_EARLY
	pass_barrier();
	show_tail(1);
#else
	show_tail(1);
#ifdef WANT_TOO_EARLY
	heed(0);
	pass_barrier();
#else
	pass_barrier();
	heed(0);
#endif
#endif
#ifdef BARRIER_TOO_EARLY
	heed(0);
#endif
	heed(1)
}

inline collect(r)
{
	atomic {
		news = news || memory[HEAD(r)] != returned[r];
		returned[r] = memory[HEAD(r)]
	}
}

#define is_out(r) (lent[r] != returned[r])

inline ask(r)
{
	if
	:: is_out(r) && asymmetric(r) -> store_release(SPACE_WANT(r), (returned[r] + 1) & 255)
	:: is_out(r) && !asymmetric(r) ->
		store_ordered(publisher_is_empty, SPACE_WANT(r), (returned[r] + 1) & 255)
	:: else
	fi
}

/* membarrier(2): its own barrier, and then those of the others, one after the other. */
inline make_subscribers_pass()
{
	if
	:: ASYMMETRIC -> publisher_is_empty; subscriber_is_empty(0); subscriber_is_empty(1)
	:: else
	fi
}

/* A whole ring back; when that gets to memory is wakeup.pml's matter. */
inline disarm(r)
{
	atomic { empty(lane[SPACE_WANT(r)]) -> memory[SPACE_WANT(r)] = (returned[r] - 4) & 255 }
}

inline wait()
{
	ask(0);
#ifdef ONE_IS_ASKED_TOO_LATE
	make_subscribers_pass();
	ask(1);
#else
	ask(1);
#ifndef NO_PASS
	make_subscribers_pass();
#endif
#endif
	news = 0;
	collect(0);
#ifndef ONE_IS_NOT_LOOKED_AT
	collect(1);
#endif
	if
	:: news
	:: else -> atomic { publisher_bell -> publisher_bell = 0 }
	fi;
	disarm(0);
	disarm(1);
	news = 0
}

proctype publisher()
{
	byte lent[2] = START, shown[2] = START, returned[2] = START;
	byte sent;
	bit news;
	do
	:: sent < MESSAGES && (minus(lent[0], returned[0]) < HOLD || minus(lent[1], returned[1]) < HOLD) -> publish()
	:: sent < MESSAGES && minus(lent[0], returned[0]) == HOLD && minus(lent[1], returned[1]) == HOLD -> wait()
	:: sent == MESSAGES && (is_out(0) || is_out(1)) -> wait()
	:: sent == MESSAGES && !is_out(0) && !is_out(1) -> break
	od;
	atomic { over = 1; bell[0] = 1; bell[1] = 1 }
}

/* A subscriber */

inline give_back(r)
{
	if
	:: asymmetric(r) -> store_release(HEAD(r), (taken + 1) & 255)
	:: else -> store_ordered(subscriber_is_empty(r), HEAD(r), (taken + 1) & 255)
	fi;
	atomic {
		if
		:: crosses(taken, (taken + 1) & 255, memory[SPACE_WANT(r)]) -> publisher_bell = 1
		:: else
		fi;
		taken = (taken + 1) & 255
	}
}

inline arm(r)
{
	if
	:: asymmetric(r) ->
		store_release(DATA_WANT(r), (taken + 1) & 255);
		subscriber_is_empty(r);
		publisher_is_empty
	:: else -> store_ordered(subscriber_is_empty(r), DATA_WANT(r), (taken + 1) & 255)
	fi
}

proctype subscriber(bit r)
{
	byte taken = START;
	do
	:: memory[TAIL(r)] != taken -> give_back(r)
	:: memory[TAIL(r)] == taken ->
		arm(r);
		if
		:: memory[TAIL(r)] != taken
		:: else -> atomic { bell[r] -> bell[r] = 0 }
		fi;
		atomic { empty(lane[DATA_WANT(r)]) -> memory[DATA_WANT(r)] = (taken - 4) & 255 };
		if
		:: over -> break
		:: else
		fi
	od
}

init
{
	atomic {
		memory[SPACE_WANT(0)] = START - 4;
		memory[SPACE_WANT(1)] = START - 4;
		memory[DATA_WANT(0)] = START - 4;
		memory[DATA_WANT(1)] = START - 4;
		run publisher();
		run subscriber(0);
		run subscriber(1)
	}
}
