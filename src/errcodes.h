/*
 * errcodes.h
 *	  The SQLSTATEs that syncext raises beside the server's own.
 *
 * A change document that is wrong raises class 22 (22023 and 22030 family),
 * an unknown name class 42; the pairs below give those one name each, so that
 * every file says the same thing in the same way.
 */
#ifndef SYNCEXT_ERRCODES_H
#define SYNCEXT_ERRCODES_H

#include "utils/errcodes.h"

/* a key is missing, has the wrong type or an impossible value */
#define ERRCODE_SYNC_BAD_DOCUMENT	ERRCODE_INVALID_PARAMETER_VALUE
/* a source, entity or conflict that isn't there */
#define ERRCODE_SYNC_UNKNOWN_NAME	ERRCODE_UNDEFINED_OBJECT
/* a table has no row yet of a record that another refers to */
#define ERRCODE_SYNC_NO_PARENT_KEY	ERRCODE_NO_DATA_FOUND
/* a batch that isn't the live one */
#define ERRCODE_SYNC_STALE_BATCH	ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE

#endif							/* SYNCEXT_ERRCODES_H */
