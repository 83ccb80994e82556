/* SPDX-License-Identifier: MIT */
/* How a half of a channel sleeps and how its peer wakes it: src/ring.c and src/doorbell.c between two
 * processes, with store buffers. README.md says what each step stands for, and what is left out.
 *
 * What is built, by -D:
 *	SOCKET    the doorbell is a message on the socket; else each half has an eventfd
 *	LOOP      two rings, one each way; the second process is one thread with an event loop of its own,
 *	          the first has two threads, which spin
 *	DEATH     either process dies at any moment
 *	STOP      rf_channel_stop() is called in either process at any moment
 *	OWED      one kick fails for lack of memory
 *	ASYMMETRIC    the fence: no barrier in who publishes; who is going to sleep makes the other thread pass one
 *	BOUNDED   halves that sleep come back by themselves, all of them, when nothing else happens any more
 *	CONSUMER_SPINS, PRODUCER_SPINS    which then never sleeps
 *	RECORDS, CAPACITY, BIG, HOLDS, QUEUE    sizes, see below
 * All other names take one thing away that the source has: negative controls.
 *
 * Threads of one process that share a socket are in threads.pml. */

#ifndef RECORDS
#define RECORDS 3 /* sent through each ring; of 1 or BIG units */
#endif
#ifndef CAPACITY
#define CAPACITY 8 /* of a ring, in units; a power of two */
#endif
#ifndef BIG
#define BIG (CAPACITY / 2)
#endif
#ifndef HOLDS
#define HOLDS (CAPACITY / 2) /* the consumer waits with so many units borrowed, at most */
#endif
#ifndef QUEUE
#define QUEUE 1 /* kicks that fit into a socket, each way */
#endif

#ifdef LOOP
#define RINGS 2
#else
#define RINGS 1
#endif
#define HALVES (2 * RINGS)

/* Positions are free-running modulo 256, and wrap in every run. */
#define START 253
#define minus(a, b) (((a) - (b)) & 255)
#ifdef KICK_ALWAYS
#define crosses(before, after, want) true
#else
#define crosses(before, after, want) (minus(after, want) < minus(after, before))
#endif

/* Ring 0 leads from process 0 to process 1, ring 1 back. */
#define producer_of(r) (2 * (r))
#define consumer_of(r) (2 * (r) + 1)
#define peer_of(h) ((h) ^ 1)
#define process_of(h) (((h) ^ ((h) >> 1)) & 1)
#ifdef LOOP
#define threads_of(p) (2 - (p))
#else
#define threads_of(p) RINGS
#endif

/* Memory as all see it, and the store buffers in front of it: what a thread stores gets there in that order,
 * some time later. No thread loads a word that it stores itself, so nothing is forwarded. */
#define TAIL(r) (r)
#define CLOSED(r) (RINGS + (r))
#define SPACE_WANT(r) (2 * RINGS + (r))
#define HEAD(r) (3 * RINGS + (r))
#define DATA_WANT(r) (4 * RINGS + (r))
#ifdef LOOP
#define buffer_of(h) ((h) == 2 -> 1 : (h))
#else
#define buffer_of(h) (h)
#endif
byte memory[5 * RINGS];
chan buffer[HALVES] = [3] of { byte, byte };

/* The kernel's: whether a half's epoll is there, has an edge of its eventfd to report, is to report a wake-up of its own
 * process; kicks on their way to a process, and that its peer is gone. */
bit watched[HALVES];
bit edge[HALVES];
bit wake[HALVES];
chan kicks[2] = [QUEUE] of { byte };
bit hangup[2];

/* A process's own: its flags, and how many of its threads are done. */
bit gone[2];
bit stopped[2];
byte done[2];
bit dies[2];
#ifdef DEATH
#define UNLESS_DEAD(p) unless { dies[p] }
#else
#define UNLESS_DEAD(p)
#endif

/* The data: how long the record is that begins there. */
byte data[RINGS * CAPACITY];

#ifdef BOUNDED
#define IS_OFF 0
#define IS_SET 1
#define RINGS_NOW 2
byte alarm[HALVES];
#endif

/* Only to be asserted: the half asked for a kick and was not kicked since; where the stream ends; that this was
 * seen. And how many kicks are still to fail. */
bit armed[HALVES];
byte end_of[RINGS];
bit end_seen[RINGS];
byte failures;

#define record_at(r, at) data[(r) * CAPACITY + ((at) & (CAPACITY - 1))]
#define room (CAPACITY - minus(reserved, seen_head))

inline store_relaxed(h, word, value)
{
	buffer[buffer_of(h)] ! word, value
}

/* Sequentially consistent: it and all earlier stores are in memory before the thread goes on. */
inline store_ordered(h, word, value)
{
	atomic { empty(buffer[buffer_of(h)]) -> memory[word] = value }
}

/* A relaxed store of a want, which asks for a kick from when it is in memory: others before it may still be on their
 * way there. */
#define ASK 128
#define half_that_asks(word) ((word) < 3 * RINGS -> producer_of((word) - 2 * RINGS) : consumer_of((word) - 4 * RINGS))
inline store_asking(h, word, value)
{
	buffer[buffer_of(h)] ! (word) + ASK, value
}

#ifdef ASYMMETRIC
#define note_armed(h)
#else
#define note_armed(h) ; armed[h] = 1
#endif

#if defined(TAIL_RELAXED) || defined(ASYMMETRIC)
#define store_tail store_relaxed
#else
#define store_tail store_ordered
#endif
#if defined(HEAD_RELAXED) || defined(ASYMMETRIC)
#define store_head store_relaxed
#else
#define store_head store_ordered
#endif
#if defined(ASYMMETRIC)
#define store_data_want store_asking
#elif defined(DATA_WANT_RELAXED)
#define store_data_want store_relaxed
#else
#define store_data_want store_ordered
#endif
#if defined(ASYMMETRIC)
#define store_space_want store_asking
#elif defined(SPACE_WANT_RELAXED)
#define store_space_want store_relaxed
#else
#define store_space_want store_ordered
#endif

/* membarrier(2): this thread, then the one at the other end of the ring, which runs on another processor; that
 * is why it is two steps. */
inline barrier_for_all(h)
{
	empty(buffer[buffer_of(h)]);
#ifndef UNREGISTERED
	empty(buffer[buffer_of(peer_of(h))])
#endif
}

#if !defined(ASYMMETRIC) || defined(NO_MEMBARRIER)
#define barrier_before_ask(h)
#define barrier_after_ask(h)
#elif defined(MEMBARRIER_BEFORE_WANT)
#define barrier_before_ask(h) barrier_for_all(h);
#define barrier_after_ask(h)
#else
#define barrier_before_ask(h)
#define barrier_after_ask(h) barrier_for_all(h);
#endif

#ifdef DISARM_AT_SEEN
#define disarmed(seen) (seen)
#else
#define disarmed(seen) (((seen) - CAPACITY) & 255)
#endif

/* doorbell.c: kicking */

/* What was stored before a kick is in memory when that is seen: the kernel takes locks. */
inline ring_bell(h)
{
#ifdef ASYMMETRIC
	empty(buffer[buffer_of(h)]);
#endif
#ifdef SOCKET
	if
	:: hangup[process_of(h)] -> gone[process_of(h)] = 1
	:: !hangup[process_of(h)] && nfull(kicks[1 - process_of(h)]) -> kicks[1 - process_of(h)] ! peer_of(h)
	:: !hangup[process_of(h)] && full(kicks[1 - process_of(h)])
	fi
#else
	edge[peer_of(h)] = watched[peer_of(h)]
#endif
}

inline kick(h)
{
	kick_due = 0;
	if
	:: failures -> failures--; owed = 1
	:: true -> owed = 0; ring_bell(h)
	fi
}

inline kick_if_due(h)
{
	atomic {
		if
		:: kick_due || owed -> kick(h)
		:: else
		fi
	}
}

/* A position passed a want. Between honest peers that happens once for each time it was asked for. */
inline is_due(h)
{
#ifndef OWED
	assert(armed[peer_of(h)]);
#endif
	armed[peer_of(h)] = 0;
	kick_due = 1
}

/* ring.c: the producer */

inline tx_look(r)
{
	if
	:: atomic {
		room < size ->
		assert(minus(memory[HEAD(r)], seen_head) <= minus(published, seen_head));
		seen_head = memory[HEAD(r)]
	}
	:: else
	fi
}

inline tx_put(r)
{
	record_at(r, reserved) = size;
	reserved = reserved + size
}

inline tx_publish(r)
{
	if
	:: atomic {
		reserved != published ->
		before = published;
		published = reserved;
		store_tail(producer_of(r), TAIL(r), published)
	};
		atomic {
			if
			:: crosses(before, published, memory[DATA_WANT(r)]) -> is_due(producer_of(r))
			:: else
			fi;
			before = 0
		}
	:: else
	fi
}

inline tx_close(r)
{
	atomic { store_ordered(producer_of(r), CLOSED(r), 1); end_of[r] = reserved }
}

inline tx_end(r)
{
#ifdef CLOSED_BEFORE_TAIL
	tx_close(r);
	tx_publish(r);
#else
	tx_publish(r);
	tx_close(r);
#endif
#ifndef NO_KICK_AT_END
	kick_due = 1
#endif
}

inline tx_arm(r)
{
	barrier_before_ask(producer_of(r))
	atomic {
		store_space_want(producer_of(r), SPACE_WANT(r), (reserved + size - CAPACITY) & 255)
		note_armed(producer_of(r))
	};
	barrier_after_ask(producer_of(r))
#ifndef NO_LOOK_FOR_SPACE
	seen_head = memory[HEAD(r)]
#endif
}

inline tx_disarm(r)
{
	store_relaxed(producer_of(r), SPACE_WANT(r), disarmed(seen_head))
}

/* ring.c: the consumer */

inline rx_refresh(r)
{
	if
	:: final
	:: else ->
#ifdef CLOSED_AFTER_TAIL
		seen_tail = memory[TAIL(r)];
		atomic { ended = memory[CLOSED(r)]; final = ended }
#else
		closed = memory[CLOSED(r)];
		atomic {
			assert(minus(memory[TAIL(r)], stored) <= CAPACITY);
			seen_tail = memory[TAIL(r)];
			ended = closed;
			final = closed;
			closed = 0
		}
#endif
	fi
}

inline rx_finish(r)
{
#ifndef NO_LAST_LOOK
	rx_refresh(r);
#endif
	final = 1
}

inline rx_look(r)
{
	if
	:: gone[process_of(consumer_of(r))] && !final -> rx_finish(r)
	:: else
	fi;
	if
	:: position == seen_tail -> rx_refresh(r)
	:: else
	fi
}

inline rx_take(r)
{
	atomic {
		assert(record_at(r, position) <= minus(seen_tail, position));
		position = position + record_at(r, position)
	}
}

inline rx_give_back(r, now)
{
	if
	:: atomic {
		released != stored &&
		(now || released == seen_tail || minus(released, stored) >= CAPACITY / 4) ->
		before = stored;
		stored = released;
		store_head(consumer_of(r), HEAD(r), stored)
	};
		atomic {
			if
			:: crosses(before, stored, memory[SPACE_WANT(r)]) -> is_due(consumer_of(r))
			:: else
			fi;
			before = 0
		}
	:: else
	fi
}

inline rx_release(r)
{
	released = released + record_at(r, released);
	rx_give_back(r, false)
}

inline rx_arm(r)
{
	barrier_before_ask(consumer_of(r))
	atomic {
		store_data_want(consumer_of(r), DATA_WANT(r), (seen_tail + 1) & 255)
		note_armed(consumer_of(r))
	};
	barrier_after_ask(consumer_of(r))
#ifndef NO_LOOK_FOR_DATA
	rx_refresh(r)
#endif
}

inline rx_disarm(r)
{
	store_relaxed(consumer_of(r), DATA_WANT(r), disarmed(seen_tail))
}

/* doorbell.c: taking in kicks and hang-ups */

#ifdef SOCKET
#define link_reports(h) (hangup_of(h) || nempty(kicks[process_of(h)]))
#else
#define link_reports(h) hangup_of(h)
#endif
#ifdef HANGUP_UNWATCHED
#define hangup_of(h) false
#else
#define hangup_of(h) hangup[process_of(h)]
#endif
#if defined(NO_TIMER)
#define timer false
#elif defined(BOUNDED)
#define timer (owed || alarm[h] == RINGS_NOW)
#else
#define timer owed
#endif

/* Nobody else reads kicks here, and there is nobody else to wake: in one step. */
inline drain(h)
{
	atomic {
		do
		:: kicks[process_of(h)] ? _
		:: empty(kicks[process_of(h)]) -> break
		od
	}
}

/* What epoll reports when it returns, and take_in() */
inline report(h)
{
#ifndef LEVEL_TRIGGERED
	edge[h] = 0;
#endif
	hung_up = hangup_of(h);
	woken = wake[h]
}

inline take_in(h)
{
	atomic {
		if
		:: woken -> wake[h] = 0; woken = 0
		:: else
		fi
	};
	if
	:: atomic { hung_up -> gone[process_of(h)] = 1; hung_up = 0 }
#ifdef SOCKET
	:: else -> drain(h)
#else
	:: else
#endif
	fi
}

/* make_epoll(): an eventfd that is readable for ever reports that at first, which is no kick. */
inline watch(h)
{
	atomic { watched[h] = 1; edge[h] = 1 };
	atomic { report(h) };
	take_in(h)
}

inline watch_if_new(h)
{
	if
	:: !watched[h] -> watch(h)
	:: else
	fi
}

inline nothing(h)
{
	skip
}

#if defined(WATCH_AND_ARM)
#define must_watch(h) false
#define before_arm watch_if_new
#define after_arm nothing
#elif defined(WATCH_AFTER_ARM)
#define must_watch(h) false
#define before_arm nothing
#define after_arm watch_if_new
#else
#define must_watch(h) (!watched[h])
#define before_arm nothing
#define after_arm nothing
#endif

#ifdef BOUNDED
#define set_alarm(h) alarm[h] = IS_SET;
#define stop_alarm(h) alarm[h] = IS_OFF;
#else
#define set_alarm(h)
#define stop_alarm(h)
#endif

inline block(h)
{
	set_alarm(h)
	atomic { edge[h] || wake[h] || link_reports(h) || timer -> stop_alarm(h) report(h) };
	take_in(h)
}

/* doorbell.c: waiting */

inline tx_flush(r)
{
#ifdef NO_PUBLISH_BEFORE_WAIT
	skip
#else
	tx_publish(r);
	kick_if_due(producer_of(r))
#endif
}

inline rx_flush(r)
{
#ifdef NO_HEAD_BEFORE_WAIT
	skip
#else
	rx_give_back(r, true);
	kick_if_due(consumer_of(r))
#endif
}

/* sleep_once(); the flags and the ring are looked at again after the epoll was made. */
inline tx_sleep(r)
{
	if
	:: must_watch(producer_of(r)) -> watch(producer_of(r))
	:: else ->
		before_arm(producer_of(r));
		tx_arm(r);
		after_arm(producer_of(r));
		if
		:: room < size -> block(producer_of(r))
		:: else
		fi;
		tx_disarm(r)
	fi
}

inline rx_sleep(r)
{
	if
	:: must_watch(consumer_of(r)) -> watch(consumer_of(r))
	:: else ->
		before_arm(consumer_of(r));
		rx_arm(r);
		after_arm(consumer_of(r));
		if
		:: position == seen_tail && !final -> block(consumer_of(r))
		:: else
		fi;
		rx_disarm(r)
	fi
}

/* Who never sleeps looks again and again: here, until there is something to see. */
#define flagged(h) (hangup_of(h) || stopped[process_of(h)])
#if defined(PRODUCER_SPINS)
#define producer_spins(r) true
#elif defined(LOOP)
#define producer_spins(r) ((r) == 0)
#else
#define producer_spins(r) false
#endif
#if defined(CONSUMER_SPINS)
#define consumer_spins(r) true
#elif defined(LOOP)
#define consumer_spins(r) ((r) == 1)
#else
#define consumer_spins(r) false
#endif

/* rf__bell_wait(); when it returns, the caller looks again. */
inline tx_wait(r)
{
	if
	:: stopped[process_of(producer_of(r))] -> goto over
	:: !stopped[process_of(producer_of(r))] && gone[process_of(producer_of(r))]
	:: else ->
		tx_flush(r);
		if
		:: atomic {
			producer_spins(r) && (memory[HEAD(r)] != seen_head || flagged(producer_of(r))) ->
			gone[process_of(producer_of(r))] = hangup_of(producer_of(r))
		}
		:: !producer_spins(r) -> tx_sleep(r)
		fi
	fi
}

inline rx_wait(r)
{
	if
	:: stopped[process_of(consumer_of(r))] -> goto over
	:: !stopped[process_of(consumer_of(r))] && gone[process_of(consumer_of(r))]
	:: else ->
		rx_flush(r);
		if
		:: atomic {
			consumer_spins(r) &&
			(memory[TAIL(r)] != seen_tail || memory[CLOSED(r)] || flagged(consumer_of(r))) ->
			gone[process_of(consumer_of(r))] = hangup_of(consumer_of(r))
		}
		:: !consumer_spins(r) -> rx_sleep(r)
		fi
	fi
}

/* The application, between the calls */

/* The sender closes at once, or when the receiver saw the end: nothing but a kick tells it then. */
inline linger(r)
{
	if
	:: true
	:: true ->
		do
		:: end_seen[r] || flagged(producer_of(r)) -> break
#ifndef OWED_FORGOTTEN
		:: owed -> kick_if_due(producer_of(r))
#endif
		od
	fi
}

/* With stop: the other process may have nothing more to say until this one hangs up. */
inline fall_silent(h)
{
	true ->
	hangup_of(h) || stopped[process_of(h)] -> goto over
}

/* Everything that was sent arrived; without an end, everything that was published. */
inline rx_check_end(r)
{
	atomic {
		if
		:: ended -> assert(position == end_of[r]); end_seen[r] = 1
		:: else -> assert(hangup[process_of(consumer_of(r))] && !memory[CLOSED(r)] && position == memory[TAIL(r)])
		fi
	}
}

/* The last thread of a process closes the channel, or the kernel does. */
inline leave(h)
{
	atomic {
		empty(buffer[buffer_of(h)]) ->
		done[process_of(h)]++;
		hangup[1 - process_of(h)] = (done[process_of(h)] == threads_of(process_of(h)))
	}
}

/* The application: sends records, publishes each at once or later, ends, and closes at once or when the end was
 * seen. */
proctype producer(byte r)
{
	byte reserved = START, published = START, seen_head = START, before, size, sent;
	bit kick_due, owed, hung_up, woken;
	{
		do
		:: sent < RECORDS ->
			atomic {
				if
				:: size = 1
				:: size = BIG
				fi
			};
			do
			:: gone[process_of(producer_of(r))] -> goto over
			:: else ->
				tx_look(r);
				if
				:: room >= size -> break
				:: else -> tx_wait(r)
				fi
			od;
			atomic { tx_put(r); sent++ };
			if
			:: tx_publish(r); kick_if_due(producer_of(r))
			:: true
			fi
		:: sent == RECORDS -> break
#ifdef STOP
		:: fall_silent(producer_of(r))
#endif
		od;
		tx_end(r);
		kick_if_due(producer_of(r));
		linger(r)
	} UNLESS_DEAD(process_of(producer_of(r)));
over:
	leave(producer_of(r))
}

/* The application: borrows and gives back, and holds some while it waits for more. */
proctype consumer(byte r)
{
	byte position = START, released = START, stored = START, seen_tail = START, before;
	bit final, ended, closed, kick_due, owed, hung_up, woken;
	{
		do
		:: released != position -> rx_release(r); kick_if_due(consumer_of(r))
		:: minus(position, released) <= HOLDS ->
			do
			:: true ->
				rx_look(r);
				if
				:: position != seen_tail -> rx_take(r); break
				:: position == seen_tail && final -> goto last
				:: else -> rx_wait(r)
				fi
			od
#ifdef STOP
		:: fall_silent(consumer_of(r))
#endif
		od;
last:
		rx_check_end(r)
	} UNLESS_DEAD(process_of(consumer_of(r)));
over:
	leave(consumer_of(r))
}

#ifdef LOOP
/* The second process as one thread: works, arms, sleeps on the channel's descriptor, processes. */
proctype loop()
{
	byte reserved = START, published = START, seen_head = START, size, sent;
	byte position = START, released = START, stored = START, seen_tail = START, before;
	bit final, ended, closed, kick_due, owed, hung_up, woken, busy, over_0, over_1;
	atomic { watched[1] = 1; watched[2] = 1; edge[1] = 1; edge[2] = 1; size = 1 };
	{
		do
		:: (over_0 && over_1) || stopped[1] -> break
		:: else ->
			if
			:: over_0
			:: else ->
				rx_look(0);
				if
				:: position != seen_tail -> rx_take(0); rx_release(0); kick_if_due(1)
				:: position == seen_tail && final -> rx_check_end(0); over_0 = 1
				:: else
				fi
			fi;
			if
			:: over_1
			:: !over_1 && gone[1] -> over_1 = 1
			:: else ->
				tx_look(1);
				if
				:: room >= size ->
					tx_put(1);
					tx_publish(1);
					kick_if_due(2);
					sent++;
					if
					:: sent == RECORDS -> tx_end(1); kick_if_due(2); over_1 = 1
					:: else
					fi
				:: else
				fi
			fi;
			/* rf_channel_arm() */
			busy = gone[1] || stopped[1] || (over_0 && over_1);
			if
			:: !busy && !over_0 ->
				rx_flush(0);
				rx_arm(0);
				busy = position != seen_tail || final
			:: else
			fi;
			if
			:: !busy && !over_1 ->
				tx_flush(1);
				tx_arm(1);
				busy = room >= size
			:: else
			fi;
			if
			:: busy -> busy = 0
			:: else ->
				/* poll(2), rf_channel_process() */
				atomic {
					edge[1] || edge[2] || wake[1] || wake[2] || link_reports(1) ->
					report(1);
					edge[2] = 0;
					wake[2] = 0
				};
				take_in(1)
			fi
		od
	} UNLESS_DEAD(1);
	leave(1)
}
#endif

#ifdef ASYMMETRIC
inline note_want()
{
	if
	:: word >= ASK -> word = word - ASK; armed[half_that_asks(word)] = 1
	:: else
	fi
}
#define note_want_if_any note_want();
#else
#define note_want_if_any
#endif

/* What memory does by itself, at any time. */
active proctype memory_system()
{
	byte word, value;
end:
	do
	:: atomic { buffer[0] ? word, value -> note_want_if_any memory[word] = value; word = 0; value = 0 }
	:: atomic { buffer[1] ? word, value -> note_want_if_any memory[word] = value; word = 0; value = 0 }
#ifdef LOOP
	:: atomic { buffer[2] ? word, value -> note_want_if_any memory[word] = value; word = 0; value = 0 }
	:: atomic { buffer[3] ? word, value -> note_want_if_any memory[word] = value; word = 0; value = 0 }
#endif
	od
}

#ifdef BOUNDED
active proctype clock()
{
end:
	do
	:: atomic {
		timeout && (alarm[0] == IS_SET || alarm[1] == IS_SET) ->
		if
		:: alarm[0] == IS_SET -> alarm[0] = RINGS_NOW
		:: else
		fi;
		if
		:: alarm[1] == IS_SET -> alarm[1] = RINGS_NOW
		:: else
		fi
	}
	od
}
#endif

#ifdef DEATH
active proctype death()
{
	if
	:: dies[0] = 1
	:: dies[1] = 1
	fi
}
#endif

#ifdef STOP
/* A private eventfd remembers it; an epoll that is asked to report its socket as writable has to be there. */
inline rouse(h)
{
#ifdef SOCKET
	wake[h] = 1
#else
	if
	:: watched[h] -> wake[h] = 1
	:: else
	fi
#endif
}

/* rf_channel_stop() */
proctype stop(byte process)
{
#ifndef ROUSED_BEFORE_FLAG
	stopped[process] = 1;
#endif
#ifndef STOP_WAKES_NOBODY
	rouse(process);
#ifdef LOOP
	rouse(3 - process);
#endif
#endif
#ifdef ROUSED_BEFORE_FLAG
	stopped[process] = 1
#endif
	skip
}
#endif

init
{
	byte i;
	atomic {
		for (i : 0 .. RINGS - 1) {
			memory[TAIL(i)] = START;
			memory[HEAD(i)] = START;
			memory[DATA_WANT(i)] = START;
			memory[SPACE_WANT(i)] = START
		}
		i = 0;
#ifdef OWED
		failures = 1;
#endif
		run producer(0);
#ifdef LOOP
		run loop();
		run consumer(1);
#else
		run consumer(0);
#endif
#ifdef STOP
		if
		:: run stop(0)
		:: run stop(1)
		fi
#endif
	}
}
