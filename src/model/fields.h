/*
 * fields.h
 *	  A record's fields in memory: names and JSON values, in jsonb's key order.
 *
 * jsonb keeps an object's keys sorted by length, then bytes.  Keeping that
 * order makes comparing and patching two records a merge of two sorted lists
 * and lets a result be written without sorting.
 */
#ifndef SYNCEXT_FIELDS_H
#define SYNCEXT_FIELDS_H

#include "utils/jsonb.h"

typedef struct FieldName
{
	const char *data;			/* not terminated */
	int			len;
} FieldName;

typedef struct Field
{
	FieldName	name;
	JsonbValue	value;			/* nested values are jbvBinary, not copied */
} Field;

typedef struct Fields
{
	int			n;
	Field	   *field;
} Fields;

/* a set of field names, in the order they were added */
typedef struct FieldNames
{
	int			n;
	FieldName  *name;
} FieldNames;

extern void fields_from_container(JsonbContainer *object, Fields *out);
extern Jsonb *fields_to_jsonb(const Fields *fields);
extern const Field *fields_find(const Fields *fields, FieldName name);

extern FieldName field_name(const char *cstring);
/* '*' stands for all fields in priorities and conflicts, so no field is named so. */
extern bool field_name_valid(FieldName name);
extern int	field_name_cmp(FieldName a, FieldName b);	/* jsonb's key order */
extern int	field_name_cmp_bytes(const void *a, const void *b); /* for qsort */
extern char *field_name_cstring(FieldName name);
extern bool json_value_equal(const JsonbValue *a, const JsonbValue *b);

extern void field_names_init(FieldNames *names, int capacity);
extern void field_names_add(FieldNames *names, FieldName name);
extern bool field_names_has(const FieldNames *names, FieldName name);
extern void field_names_sort(FieldNames *names);
extern void field_names_push(JsonbParseState **state, const FieldNames *names);

#endif							/* SYNCEXT_FIELDS_H */
