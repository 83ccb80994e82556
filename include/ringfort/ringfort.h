/* SPDX-License-Identifier: MIT */
/* All of ringfort: zero-copy messages between processes that do not trust each other. */
#ifndef RINGFORT_RINGFORT_H
#define RINGFORT_RINGFORT_H

#include <ringfort/blob.h>
#include <ringfort/channel.h>
#include <ringfort/cursor.h>
#include <ringfort/inline.h>
#include <ringfort/listener.h>
#include <ringfort/options.h>
#include <ringfort/publisher.h>
#include <ringfort/rx.h>
#include <ringfort/task.h>
#include <ringfort/tx.h>
#include <ringfort/typed.h>
#include <ringfort/types.h>

#endif
