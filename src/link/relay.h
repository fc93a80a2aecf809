/*
 * relay.h
 *	  A hub that is a spoke of another hub: what it sends there, and what
 *	  comes from there.
 */
#ifndef SYNCEXT_RELAY_H
#define SYNCEXT_RELAY_H

#include "hub/captured.h"
#include "local/linked.h"
#include "local/rebase.h"

/*
 * The same as captured_cut, linked_answered and linked_place do for attached
 * tables, of the golden records here.  Each is called in a transaction.
 */
extern void relay_cut(const char *source, int max, Size max_bytes, CapturedBatch *batch);
extern void relay_answered(const char *source, const LinkedAnswer *answers, int n);
extern void relay_place(const char *source, LinkedRecord *records, int n);

/*
 * Note what the other hub, that has gone back in time, has of records now.  When that
 * is done for all of them, relay_renew lets what it lacks be sent again.
 */
extern void relay_rebase(const char *source, const LostRecord *records, int n, bool ours,
						 Rebased *result);
extern void relay_renew(const char *source);

#endif							/* SYNCEXT_RELAY_H */
