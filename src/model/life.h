/*
 * life.h
 *	  When a record of a field ladder was written, deleted and born: the greatest stamps
 *	  of all changes that came, whatever the order.
 *
 * doc/ladder.md, "The field ladder", says what each is for.
 */
#ifndef SYNCEXT_LIFE_H
#define SYNCEXT_LIFE_H

#include "datatype/timestamp.h"
#include "utils/jsonb.h"

/* versions stay below 2^62, so that "+ 1" can't overflow */
#define CHANGE_MAX_VERSION		((INT64CONST(1) << 62) - 1)

/* The stamp of a change; which of the two parts it is made of the ladder says. */
typedef struct LifeStamp
{
	bool		is_set;			/* else it is below every other one */
	bool		has_version;
	int64		version;
	bool		has_updated_at;
	TimestampTz updated_at;
	const char *source;			/* of lived and died; NULL: it isn't kept, or not known */
} LifeStamp;

typedef struct Life
{
	LifeStamp	lived;			/* of changes that aren't deletes */
	LifeStamp	died;			/* of deletes */
	LifeStamp	cut;			/* of the tombstones that births were made on */
	LifeStamp	born;			/* of births; where the entity's deletes win */
	LifeStamp	seen;			/* of what deletes were made on; where its edits win */
} Life;

/* The ways in which an entity's deletes and edits can meet. */
typedef enum DeleteMode
{
	DELETES_BY_TIME,			/* the greater stamp wins */
	DELETES_WIN,
	EDITS_WIN
} DeleteMode;

extern bool delete_mode_by_name(const char *name, DeleteMode *mode);
extern const char *delete_mode_name(DeleteMode mode);

/* By version, by time, or by both, in this order. */
extern int	life_stamp_cmp(bool by_version, bool by_time, const LifeStamp *a, const LifeStamp *b);
/* Is there a record, as far as its stamps say? */
extern bool life_is_alive(const Life *life, DeleteMode mode, bool by_version, bool by_time);

/*
 * [version, updatedAt, source], the time in microseconds or null; without a source
 * where it has none.
 */
extern void life_push_stamp(JsonbParseState **state, const char *key, const LifeStamp *stamp);
/* False if the value is none. */
extern bool life_read_stamp(const JsonbValue *value, LifeStamp *stamp);
/* {name: stamp} of those that are set. */
extern Jsonb *life_jsonb(const Life *life);
/* False if the object is none. */
extern bool life_read(JsonbContainer *object, Life *life);

#endif							/* SYNCEXT_LIFE_H */
