/*
 * capture.h
 *	  Edits of attached tables on their way to the hub.
 */
#ifndef SYNCEXT_CAPTURE_H
#define SYNCEXT_CAPTURE_H

#include "utils/guc.h"

/* syncext.inbound: '', on, off, or relation-oid:external-id. */
extern bool inbound_check(char **newval, void **extra, GucSource source);

#endif							/* SYNCEXT_CAPTURE_H */
