#!/bin/bash
# SPDX-License-Identifier: MIT
# The models of how halves sleep and are woken, how slots are lent and come back, who subscribes and leaves
# (models/README.md): spin finds nothing wrong with them, and the right thing as soon as a barrier, a second look, a
# check or a wake-up is taken away.
# shellcheck source=tests/support.sh
. "$(dirname "$0")/support.sh"

# They are the same however the library was built: .ci/run has them once.
if [ -n "${RF_TEST_QUICK-}" ]; then
	skip "the models hold and their controls fail" "RF_TEST_QUICK is set"
	done_testing
fi

pan=$scratch/pan
memory_mib=1024
depth_most=100000
read -ra compiler <<<"${CC:-cc}" # it may have options

# What spin reports where a half sleeps for ever, or a half is kicked that did not ask; where a stream ends too early, or
# breaks off with records unread; where a half goes round for ever.
asleep='invalid end state'
kicked='assertion violated armed\['
cut='assertion violated \(position==end_of\['
unread='assertion violated \(\(hangup\['
restless='non-progress cycle'

# And with slots: where one is written under a reader; a descriptor is not the next one, or messages went missing
# untold; an honest consumer is blamed; a slot is never idle again, or none when it has to be; what is out of date is
# shown; memory is not there, or not the one that was meant.
rewritten='assertion violated \(\((memory|content)\['
untold='assertion violated \((\(\(last| !\(last)'
blamed='assertion violated ( !\(honest|\(held\[)'
lost='assertion violated ( !\(\(+opened|\( !\(\(+held)'
starved='assertion violated q_len\(idle'
outdated='assertion violated \(\(final'
nowhere='assertion violated q_len\(memories'
ahead='assertion violated \(\(generation'

# Sizes: one with batches of heads is the default; these are for models with more to interleave.
small="RECORDS=3 CAPACITY=2 BIG=1 HOLDS=1"
smaller="RECORDS=2 CAPACITY=1 BIG=1 HOLDS=0"
smallest="RECORDS=1 CAPACITY=1 BIG=1 HOLDS=0"
two="TWO HOLD=1 AREA=1"

# explore FILE DEFINITION…: what pan says is in $pan/output. CYCLES is a definition for us. Not optimised: most of the
# time goes into compiling.
explore() {
	local file=$1 definitions=() mode=(-DSAFETY) options=(-b "-m$depth_most" -w21) word
	shift
	for word; do
		[ "$word" = CYCLES ] && mode=(-DNP -DNOFAIR) && options+=(-l)
		definitions+=("-D$word")
	done
	rm -rf "$pan" && mkdir "$pan" && cd "$pan" || return 1
	spin -a "${definitions[@]}" "$RF_SRCDIR/models/$file.pml" || return 1
	"${compiler[@]}" -O0 -w "${mode[@]}" "-DMEMLIM=$memory_mib" -o pan pan.c || return 1
	./pan "${options[@]}" >output
	grep -E '^pan:1|errors:|states, stored' output
}

# Everything was looked at, and nothing is wrong.
is_sound() {
	explore "$@" && grep -q 'errors: 0$' output && ! grep -q -e 'not completed' -e '^pan:1' output
}

is_found() {
	local kind=$1
	shift
	explore "$@" && grep -qE "^pan:1: $kind" output
}

# holds NAME FILE "DEFINITIONS"
holds() {
	# shellcheck disable=SC2086 # definitions are words
	check "$1" is_sound "$2" ${3-}
}

# fails NAME KIND FILE "DEFINITIONS"
fails() {
	# shellcheck disable=SC2086
	check "found: $1" is_found "$2" "$3" $4
}

need spin command -v spin

holds "eventfd" wakeup
holds "socket" wakeup "SOCKET"
holds "socket with room for two kicks" wakeup "SOCKET QUEUE=2 $small"
holds "the receiver spins" wakeup "CONSUMER_SPINS"
holds "the sender spins" wakeup "SOCKET PRODUCER_SPINS"
holds "both spin" wakeup "CONSUMER_SPINS PRODUCER_SPINS"
holds "death at any step, eventfd" wakeup "DEATH $small"
holds "death at any step, socket" wakeup "DEATH SOCKET $small"
holds "death at any step, both spin" wakeup "DEATH CONSUMER_SPINS PRODUCER_SPINS $small"
holds "stop at any step, eventfd" wakeup "STOP $smaller"
holds "stop at any step, socket" wakeup "STOP SOCKET $smaller"
holds "a kick fails for lack of memory" wakeup "OWED SOCKET $small"
holds "a loop of the caller's, eventfd" wakeup "LOOP $smaller"
holds "a loop of the caller's, socket" wakeup "LOOP SOCKET $smaller"
holds "a loop of the caller's, death" wakeup "LOOP SOCKET DEATH $smallest"
holds "asymmetric fence, eventfd" wakeup "ASYMMETRIC"
holds "asymmetric fence, socket" wakeup "ASYMMETRIC SOCKET $small"
holds "asymmetric fence, death at any step" wakeup "ASYMMETRIC DEATH SOCKET $smaller"
holds "asymmetric fence, stop at any step" wakeup "ASYMMETRIC STOP $smaller"
holds "asymmetric fence, a loop of the caller's" wakeup "ASYMMETRIC LOOP SOCKET $smallest"
holds "two threads share a socket" threads "QUEUE=2"
holds "two threads share a socket, one reads at a time" threads "SUSPECT"
holds "every run comes to an end, eventfd" wakeup "CYCLES $small"
holds "every run comes to an end, socket" wakeup "CYCLES SOCKET DEATH $smaller"
holds "every run comes to an end, asymmetric fence" wakeup "CYCLES ASYMMETRIC $small"
holds "every run comes to an end, the peer has lied, sleeps are bounded" wakeup \
	"CYCLES ASYMMETRIC UNREGISTERED BOUNDED $smaller"
holds "every run comes to an end, membarrier fails, sleeps are bounded" wakeup \
	"CYCLES ASYMMETRIC NO_MEMBARRIER BOUNDED $smaller"
holds "every run comes to an end, two threads" threads "CYCLES EVENTS=1"
holds "slots of a channel" slots "MESSAGES=5"
holds "slots of a channel, more descriptors than may be held" slots "HOLD=3 AREA=4"
holds "slots of a channel, two reserved at a time" slots "RESERVE=2 CANCELS=1"
holds "slots of a channel: every run comes to an end" slots "CYCLES MESSAGES=3"
holds "slots of two that block" slots "$two"
holds "slots of one that blocks and one that misses" slots "$two BLOCKING=1 MESSAGES=3"
holds "slots of two that block, death at any step" slots "$two DEATH MESSAGES=2"
holds "slots of two that block, cut at any step" slots "$two CUTS MESSAGES=3"
holds "slots beside a hostile consumer" slots "$two HOSTILE BLOCKING=0 MESSAGES=2"
holds "slots beside a hostile consumer, both block" slots "$two HOSTILE MESSAGES=2"
holds "one barrier for two subscribers" fanout "MESSAGES=2"
holds "one barrier for two subscribers, room for two" fanout "HOLD=2"
holds "one barrier for two subscribers, one with the asymmetric fence" fanout "ASYMMETRIC=1 MESSAGES=2"
holds "one barrier for two subscribers, both with the asymmetric fence" fanout "ASYMMETRIC=2 MESSAGES=2"
holds "subscribers: block and latest" publisher "LAG_1=LATEST HOLD_1=2 LINGER"
holds "subscribers: two latest" publisher "LAG_0=LATEST LAG_1=LATEST HOLD_1=2 LINGER MESSAGES=3"
holds "subscribers: latest, the publisher idles with a slot open" publisher "LAG_1=LATEST IDLES LINGER MESSAGES=3"
holds "subscribers: from the oldest message on" publisher "OLDEST HOLD_1=3 MESSAGES=3"
holds "subscribers: one goes at any step" publisher "CHURN LINGER MESSAGES=3"
holds "subscribers: one goes at any step, latest" publisher "CHURN LAG_1=LATEST HOLD_1=2 LINGER MESSAGES=3"
holds "subscribers: room for one at a time" publisher "CHURN LAG_0=DROP COUNT=2"
holds "subscribers: cut at any step" publisher "CUTS LINGER MESSAGES=3"
holds "subscribers: cut at any step, latest" publisher "CUTS LAG_1=LATEST LINGER MESSAGES=2"
holds "new memory at any step" publisher "RENEWALS=2 MESSAGES=2"
holds "new memory at any step, two that block" publisher "RENEWALS=2 LAG_1=BLOCK MESSAGES=2"
holds "new memory at any step, latest" publisher "RENEWALS=1 LAG_0=LATEST MESSAGES=3"
holds "new memory, and one goes, at any step" publisher "RENEWALS=1 CHURN MESSAGES=2"

fails "no barrier between tail and data_want" "$asleep" wakeup "TAIL_RELAXED"
fails "no barrier between head and space_want" "$asleep" wakeup "HEAD_RELAXED"
fails "no barrier between data_want and tail" "$asleep" wakeup "DATA_WANT_RELAXED"
fails "no barrier between space_want and head" "$asleep" wakeup "SPACE_WANT_RELAXED"
fails "no second look for data" "$asleep" wakeup "NO_LOOK_FOR_DATA"
fails "no second look for data, a loop of the caller's" "$asleep" wakeup "NO_LOOK_FOR_DATA LOOP $smaller RECORDS=3"
fails "no second look for space" "$asleep" wakeup "NO_LOOK_FOR_SPACE"
fails "closed loaded after tail" "$cut" wakeup "CLOSED_AFTER_TAIL"
fails "closed stored before tail" "$cut" wakeup "CLOSED_BEFORE_TAIL"
fails "no kick at the end" "$asleep" wakeup "NO_KICK_AT_END"
fails "no kick at the end, socket" "$asleep" wakeup "NO_KICK_AT_END SOCKET"
fails "the head is held back while asleep" "$asleep" wakeup "NO_HEAD_BEFORE_WAIT"
fails "the head is held back while spinning" "$asleep" wakeup "NO_HEAD_BEFORE_WAIT CONSUMER_SPINS PRODUCER_SPINS"
fails "what is committed is held back while asleep" "$asleep" wakeup "NO_PUBLISH_BEFORE_WAIT"
fails "what is committed is held back while spinning" "$asleep" wakeup "NO_PUBLISH_BEFORE_WAIT PRODUCER_SPINS"
fails "the edge is taken in after the second look" "$asleep" wakeup "WATCH_AFTER_ARM"
fails "the socket is drained after the second look" "$asleep" wakeup "WATCH_AFTER_ARM SOCKET"
fails "the bell is watched level-triggered" "$restless" wakeup "LEVEL_TRIGGERED CYCLES $smaller"
fails "a kick for every publish" "$kicked" wakeup "KICK_ALWAYS"
fails "disarming with the position that was seen" "$kicked" wakeup "DISARM_AT_SEEN"
fails "the hang-up is not watched" "$asleep" wakeup "HANGUP_UNWATCHED DEATH $small"
fails "no last look at the tail of the dead" "$unread" wakeup "NO_LAST_LOOK DEATH $small"
fails "stop wakes nobody" "$asleep" wakeup "STOP_WAKES_NOBODY STOP $smaller"
fails "stop is taken in with the first events, and forgotten" "$asleep" wakeup "WATCH_AND_ARM STOP $smaller"
fails "stop rouses before it says so" "$asleep" wakeup "ROUSED_BEFORE_FLAG STOP $smaller"
fails "no timer for a kick that is owed" "$asleep" wakeup "NO_TIMER OWED SOCKET"
fails "a kick that is owed is forgotten" "$asleep" wakeup "OWED_FORGOTTEN OWED SOCKET $small"
fails "asymmetric fence: membarrier fails" "$asleep" wakeup "ASYMMETRIC NO_MEMBARRIER $smaller"
fails "asymmetric fence: membarrier before the want is stored" "$asleep" wakeup "ASYMMETRIC MEMBARRIER_BEFORE_WANT"
fails "asymmetric fence: the peer has lied" "$asleep" wakeup "ASYMMETRIC UNREGISTERED $smaller"
fails "asymmetric fence: a timer for what is held back" "$restless" wakeup \
	"CYCLES ASYMMETRIC BOUNDED NO_PUBLISH_BEFORE_WAIT $small"
fails "the sibling is not woken" "$asleep" threads "WAKE_NOBODY_ELSE"
fails "only the half that is named is woken" "$asleep" threads "WAKE_NAMED_ONLY"
fails "asleep is said after the second look" "$asleep" threads "ASLEEP_AFTER_ARM"
fails "no barrier after asleep and the want" "$asleep" threads "WANT_RELAXED"
fails "no second look with two threads" "$asleep" threads "NO_LOOK"
fails "the socket is drained after the second look, two threads" "$asleep" threads "WATCH_AFTER_ARM"
fails "slots: no barrier between descriptor and tail" "$untold" slots "TAIL_RELAXED"
fails "slots: no barrier between return entry, head and space_want" "$asleep" slots "HEAD_RELAXED MESSAGES=5"
fails "slots: no barrier between space_want and head" "$asleep" slots "SPACE_WANT_RELAXED MESSAGES=5"
fails "slots: no second look for room" "$asleep" slots "NO_LOOK_FOR_SPACE MESSAGES=5"
fails "slots: one consumer's want is forgotten" "$asleep" slots "ONE_IS_FORGOTTEN $two"
fails "slots: the head is stored before the return entry" "$blamed" slots "HEAD_BEFORE_ENTRY"
fails "slots: the return entry is loaded before the head" "$blamed" slots "ENTRY_BEFORE_HEAD MESSAGES=5"
fails "slots: room is the head's, not what was collected" "$blamed" slots "ROOM_FROM_HEAD SLOTS=4 MESSAGES=5"
fails "slots: the first one that returns a slot frees it" "$blamed" slots "FIRST_RETURN_FREES $two"
fails "slots: a return is not checked" "$rewritten" slots "RETURN_UNCHECKED $two HOSTILE BLOCKING=0 MESSAGES=2"
fails "slots: a return is loaded twice" "$blamed" slots "LOADED_TWICE $two HOSTILE BLOCKING=0 MESSAGES=2"
fails "slots: what the dead held stays held" "$lost" slots "HOLDERS_KEPT $two DEATH MESSAGES=2"
fails "slots: a death frees what the living hold" "$blamed" slots "CLEARED_FOR_ALL $two DEATH MESSAGES=2"
fails "slots: who was cut still gets what is queued" "$rewritten" slots "CUT_IS_DRAINED $two CUTS MESSAGES=2"
fails "slots: what was missed is not told" "$untold" slots "MISSED_FORGOTTEN $two BLOCKING=1"
fails "fan-out: no barrier between tails and wants" "$asleep" fanout "NO_BARRIER"
fails "fan-out: no barrier where one of two has the asymmetric fence" "$asleep" fanout "NO_BARRIER ASYMMETRIC=1"
fails "fan-out: the barrier before the second tail" "$asleep" fanout "BARRIER_TOO_EARLY"
fails "fan-out: a want is loaded before the barrier" "$asleep" fanout "WANT_TOO_EARLY"
fails "fan-out: no barrier for others before a look" "$asleep" fanout "NO_PASS ASYMMETRIC=2"
fails "fan-out: one is asked behind the barrier for others" "$asleep" fanout "ONE_IS_ASKED_TOO_LATE ASYMMETRIC=2"
fails "fan-out: one that was asked is not looked at" "$asleep" fanout "ONE_IS_NOT_LOOKED_AT"
fails "subscribers: no slot is kept back" "$starved" publisher "NO_RESERVE LAG_0=DROP COUNT=2"
fails "subscribers: a gap before the newest message" "$untold" publisher "GAPS OLDEST HOLD_1=3 MESSAGES=3"
fails "latest: no word of what was dropped" "$outdated" publisher "NO_DROPPED LAG_1=LATEST HOLD_1=2 LINGER"
fails "latest: dropped is stored after the tail" "$asleep" publisher "DROPPED_AFTER_TAIL LAG_1=LATEST HOLD_1=2 LINGER"
fails "latest: dropped is loaded before the tail" "$asleep" publisher "DROPPED_BEFORE_TAIL LAG_1=LATEST HOLD_1=2 LINGER"
fails "latest: its return is not waited for" "$asleep" publisher "ONLY_BLOCKERS_ARMED LAG_1=LATEST LINGER"
fails "latest: room that came unasked is not seen" "$asleep" publisher "ROOM_UNSEEN LAG_0=DROP LAG_1=LATEST IDLES"
fails "new memory while the one before the last is out" "$rewritten" publisher "RENEW_TOO_EARLY RENEWALS=2 MESSAGES=2"
fails "new memory while a slot is open" "$rewritten" publisher "RENEW_WHILE_PENDING RENEWALS=2 MESSAGES=2"
fails "new memory is not sent" "$nowhere" publisher "MEMORY_NOT_SENT RENEWALS=2 MESSAGES=2"
fails "new memory, of which some was never lent" "$ahead" publisher "ONE_AHEAD_ONLY RENEWALS=2 LAG_1=BLOCK MESSAGES=2"
fails "new memory, and the publisher's count of it" "$blamed" publisher "IDS_AS_THEY_ARE RENEWALS=2 MESSAGES=2"
done_testing
