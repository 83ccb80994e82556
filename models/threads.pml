/* SPDX-License-Identifier: MIT */
/* Two threads of one process, each asleep in its half, share the socket that the kicks for both arrive on:
 * whoever reads any wakes the other (threats D11). README.md says what each step stands for, and what is left
 * out.
 *
 * What is built, by -D:
 *	SUSPECT          one thread at a time reads the socket, because it looks at each message first
 *	EVENTS, QUEUE    sizes, see below
 * All other names take one thing away that the source has: negative controls. */

#ifndef EVENTS
#define EVENTS 2 /* that each half is to see: records or room */
#endif
#ifndef QUEUE
#define QUEUE 1 /* kicks that fit into the socket */
#endif
#define sibling_of(h) (1 - (h))

/* Memory as all see it: how far the peer got in the ring of each half, where the half wants to be kicked, whether
 * its thread is asleep; and the store buffers of the two threads. The peer's own stores are in order: wakeup.pml
 * is about them. */
#define POSITION(h) (h)
#define WANT(h) (2 + (h))
#define ASLEEP(h) (4 + (h))
byte memory[6];
chan buffer[2] = [3] of { byte, byte };

/* The kernel's: kicks in the socket, each naming a half, and the private eventfds. */
chan socket = [QUEUE] of { bit };
bit wake[2];

/* The process's own: a thread is at it. */
bit draining;

inline store_relaxed(h, word, value)
{
	buffer[h] ! word, value
}

inline store_ordered(h, word, value)
{
	atomic { empty(buffer[h]) -> memory[word] = value }
}

#ifdef WANT_RELAXED
#define store_want store_relaxed
#else
#define store_want store_ordered
#endif

#ifdef WAKE_NAMED_ONLY
#define wakes_sibling (names_sibling)
#elif defined(WAKE_NOBODY_ELSE)
#define wakes_sibling false
#else
#define wakes_sibling (drained)
#endif

inline read_kicks(h)
{
	do
	:: atomic {
		socket ? named ->
		drained = 1;
		names_sibling = names_sibling || named == sibling_of(h);
		named = 0
	}
	:: atomic { empty(socket) -> break }
	od
}

inline drain(h)
{
#ifdef SUSPECT
	if
	:: draining
	:: atomic { !draining -> draining = 1 };
		read_kicks(h);
		draining = 0
	fi
#else
	read_kicks(h)
#endif
}

inline wake_sleepers(h)
{
	atomic {
		asleep = wakes_sibling && memory[ASLEEP(sibling_of(h))];
		drained = 0;
		names_sibling = 0
	};
	if
	:: atomic { asleep -> wake[sibling_of(h)] = 1; asleep = 0 }
	:: else
	fi
}

/* rf__link_harvest(): what epoll reported is taken in, in either order. */
inline harvest(h)
{
	do
	:: atomic { woken -> wake[h] = 0; woken = 0 }
	:: readable -> drain(h); wake_sleepers(h); readable = 0
	:: !woken && !readable -> break
	od
}

inline block(h)
{
	atomic {
		nempty(socket) || wake[h] ->
		readable = nempty(socket);
		woken = wake[h]
	};
	harvest(h)
}

/* make_epoll(), which harvests at once */
inline watch(h)
{
	atomic { watched = 1; readable = nempty(socket); woken = wake[h] };
	harvest(h)
}

#ifdef WATCH_AFTER_ARM
#define must_watch false
#else
#define must_watch (!watched)
#endif

/* sleep_once() */
inline sleep(h)
{
	if
	:: must_watch -> watch(h)
	:: else ->
#ifndef ASLEEP_AFTER_ARM
		store_ordered(h, ASLEEP(h), 1);
#endif
		store_want(h, WANT(h), seen + 1);
#ifndef NO_LOOK
		seen = memory[POSITION(h)];
#endif
#ifdef ASLEEP_AFTER_ARM
		store_ordered(h, ASLEEP(h), 1);
#endif
#ifdef WATCH_AFTER_ARM
		if
		:: !watched -> watch(h)
		:: else
		fi;
#endif
		if
		:: seen == before -> block(h)
		:: else
		fi;
		store_relaxed(h, ASLEEP(h), 0)
	fi
}

/* A half looks, and sleeps when there is nothing new, until it has seen everything. */
proctype half(bit h)
{
	byte seen, before;
	bit named, drained, names_sibling, asleep, readable, woken, watched;
	do
	:: atomic { before == EVENTS -> break }
	:: atomic { before < EVENTS -> seen = memory[POSITION(h)] };
		if
		:: seen == before -> sleep(h)
		:: else
		fi;
		before = seen
	od
}

/* The peer's half on the other side of a ring: moves, and kicks when that passes the want. A
 * socket that is full takes no kick. */
proctype peer(bit h)
{
	byte position;
	do
	:: atomic { position == EVENTS -> break }
	:: atomic { position < EVENTS -> position++; memory[POSITION(h)] = position };
		if
		:: atomic { memory[WANT(h)] == position };
			atomic {
				if
				:: nfull(socket) -> socket ! h
				:: full(socket)
				fi
			}
		:: else
		fi
	od
}

active proctype memory_system()
{
	byte word, value;
end:
	do
	:: atomic { buffer[0] ? word, value -> memory[word] = value; word = 0; value = 0 }
	:: atomic { buffer[1] ? word, value -> memory[word] = value; word = 0; value = 0 }
	od
}

init
{
	atomic { run half(0); run half(1); run peer(0); run peer(1) }
}
