/*
 * fragile.h
 *	  Rows whose values can't all be brought to the hub.
 */
#ifndef SYNCEXT_FRAGILE_H
#define SYNCEXT_FRAGILE_H

#include "local/attached_relation.h"

/* May making JSON of the row raise?  Costs nothing where attached->fragile is false. */
extern bool fragile_suspects(const Attached *attached, AttachedRow row);
/* Like fragile_suspects(), of one value, which isn't null. */
extern bool fragile_suspects_value(const AttachedColumn *column, Datum value);
/* Is the error about a value, and not about the server? */
extern bool fragile_is_about_value(const ErrorData *error);
/* The edit of the row stands, and the hub can't have it: keep that, and why. */
extern void fragile_keep(const Attached *attached, const char *external_id,
						 const ErrorData *error);
/* Does the hub lack more of the row, as an earlier edit of it was kept? */
extern bool fragile_owes(const Attached *attached, const char *external_id);
/* It has all of it now. */
extern void fragile_settle(const Attached *attached, const char *external_id);

#endif							/* SYNCEXT_FRAGILE_H */
