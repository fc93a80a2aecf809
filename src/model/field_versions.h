/*
 * field_versions.h
 *	  JSON objects {field: row version}, as syncext.replica and syncext.agreed keep them
 *	  of what is known of single fields.  NULL: one without fields.
 */
#ifndef SYNCEXT_FIELD_VERSIONS_H
#define SYNCEXT_FIELD_VERSIONS_H

#include "utils/jsonb.h"

#include "model/fields.h"

/* The row version of a field; 0: it has none. */
extern int64 field_versions_of(Jsonb *versions, FieldName name);
/* False, and row_version untouched, if the field has none. */
extern bool field_versions_find(const Fields *versions, FieldName name, int64 *row_version);
/* For these fields: each keeps the row version that it has in before, others get this one. */
extern Jsonb *field_versions_make(const FieldNames *names, Jsonb *before, int64 row_version);
/* The versions, with these fields at a row version, unless that is 0. */
extern Jsonb *field_versions_put(Jsonb *versions, const Fields *fields, int64 row_version);
/* The versions, without these fields. */
extern Jsonb *field_versions_without(Jsonb *versions, const Fields *fields);
/* The versions, none of them later than that. */
extern Jsonb *field_versions_limit(Jsonb *versions, int64 row_version);

#endif							/* SYNCEXT_FIELD_VERSIONS_H */
