/*
 * key_references.h
 *	  References in the words of a source that has keys of its own of the parents.
 */
#ifndef SYNCEXT_KEY_REFERENCES_H
#define SYNCEXT_KEY_REFERENCES_H

#include "hub/apply_item.h"
#include "storage/source_key.h"

/* Does a record of the entity refer to others that the source names by keys of its own? */
extern bool key_references_any(const Source *source, const Entity *entity);

/*
 * Put external ids in the place of the keys by which a change refers to others.  If one of
 * them isn't bound, all stay, and the change says for which it waits.  find, if it isn't
 * NULL, is asked for keys that aren't there: it returns the external id, or NULL.
 */
typedef const char *(*KeyFinder) (void *arg, const SourceKey *key);
extern void key_references_read(SourceKeys *keys, const ApplyItem *item, Change *change,
								KeyFinder find, void *arg);
/* The same, of a change that was parked. */
extern void key_references_reread(const ApplyItem *item, Change *change);

/*
 * A record's fields with the target's keys in the place of external ids.  NULL: the target
 * has no key of another that they refer to, *parent.  Where a record refers to itself and
 * has no key yet, the field is null.
 */
extern Jsonb *key_references_write(SourceKeys *keys, const Source *target, const RecordKey *record,
								   Jsonb *fields, RecordKey *parent);
/* The same for the value of one of its fields.  False: there is no key of *parent. */
extern bool key_references_write_field(SourceKeys *keys, const Source *target,
									   const RecordKey *record, FieldName field,
									   JsonbValue *value, RecordKey *parent);
/* Does the record refer to itself, by such a field? */
extern bool key_references_itself(const Source *target, const RecordKey *record);

#endif							/* SYNCEXT_KEY_REFERENCES_H */
