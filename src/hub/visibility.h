/*
 * visibility.h
 *	  Who sees what: may a source, or the current user, see this record, and
 *	  which fields of it?
 *
 * Whatever answers asks here, and nowhere else.  The rules:
 *
 *	  - A source sees the records of the entities that it gets, as far as the
 *		route's filter lets them through.  A tombstone is judged by its last fields.
 *	  - Of these it sees the fields that the route doesn't mask, and of a tombstone
 *		of a filtered entity none.
 *	  - A user sees what the sources see whose role it holds; who may read
 *		syncext.canonical sees everything.
 */
#ifndef SYNCEXT_VISIBILITY_H
#define SYNCEXT_VISIBILITY_H

#include "hub/apply_item.h"
#include "model/record.h"
#include "nodes/pg_list.h"
#include "storage/canonical.h"
#include "storage/registry.h"

/* ---------- the current user ---------- */

/*
 * As which sources does the user see records of the entity?  NIL: it may read the
 * tables, and so sees everything.  Raises 42501 if it may see none.
 */
extern List *visibility_sources(const Registry *registry, const char *entity);
/* Leave in the record what these sources see; false: it is shown to none of them. */
extern bool visibility_cut(const List *sources, const char *entity, Record *record);
/* Raises 42501 if the change names a field that is masked from all of them. */
extern void visibility_check_fields(const List *sources, const Change *change);
/* May the user see the record at all?  Doesn't raise. */
extern bool visibility_user_sees(const Registry *registry, const char *entity,
								 const Record *record);

/* ---------- a source ---------- */

/* Does the source see every field of every record?  Then nothing else need be asked. */
static inline bool
visibility_unlimited(const Source *source)
{
	return source->nentities < 0 && source->nroutes == 0;
}

/*
 * The fields of a record that are not delivered to a source: its route masks them, or
 * a pending conflict of its own (a list of Conflict) is over them.  Returns false if one
 * is over the whole record.
 */
extern bool visibility_withheld(const Route *route, const List *conflicts,
								FieldNames *withheld);

/* Does it see the record?  One that doesn't exist it sees if it saw any. */
extern bool visibility_shows(const Source *source, const char *entity, const Record *record);
/*
 * Is there such a record, which lives, and does the source see it?  Nothing of it stays in
 * memory: a call may ask that of thousands, or of a large one thousands of times.
 */
extern bool visibility_shows_living(const Source *source, const char *entity,
									const char *external_id, Canonical *records);
/*
 * May a source be told what became of its change, on a record that was as before
 * says?  It may if it sees all that the answer depends on: the record, the fields
 * that the change names, and the records that they refer to, which are read with
 * parents.  Else every such change gets the same answer.
 */
extern bool visibility_answers(const ApplyItem *item, const Record *before, Canonical *parents);

#endif							/* SYNCEXT_VISIBILITY_H */
