/*
 * field_state.h
 *	  A record of a field ladder with all that decides it, as two hubs tell it one
 *	  another: whatever each of them saw, joined they have the same.
 */
#ifndef SYNCEXT_FIELD_STATE_H
#define SYNCEXT_FIELD_STATE_H

#include "model/record.h"

typedef struct FieldState
{
	const char *ladder;			/* what the stamps are made of and how deletes count, as
								 * ladder_field_kind() says: both hubs must have the same */
	Record		record;
} FieldState;

/*
 * The state as JSON: its stamps, its life and, of a tombstone, its fields; those of a
 * live record stand beside it.
 */
extern Jsonb *field_state_jsonb(const FieldState *state);
/*
 * Read one.  fields are those beside it, which a tombstone hasn't.  Returns NULL where
 * it is none.
 */
extern FieldState *field_state_read(const JsonbValue *state, const Fields *fields, bool deleted);

#endif							/* SYNCEXT_FIELD_STATE_H */
