/*
 * capture.h
 *	  Edits of attached tables on their way to the hub.
 */
#ifndef SYNCEXT_CAPTURE_H
#define SYNCEXT_CAPTURE_H

#include "utils/guc.h"

#include "hub/apply.h"
#include "local/attached.h"
#include "storage/replica.h"

/* syncext.inbound: '', on, off, or relation-oid:external-id. */
extern bool inbound_check(char **newval, void **extra, GucSource source);

/* Bring fields of a row to the hub, as an edit made on row version base. */
extern void capture_send(ApplyCall *call, const Attached *attached, const char *external_id,
						 const Fields *fields, int64 base, Answer *answer);

#endif							/* SYNCEXT_CAPTURE_H */
