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
	int			capacity;		/* that field_names_add() keeps to */
} FieldNames;

extern void fields_from_container(JsonbContainer *object, Fields *out);
extern Jsonb *fields_to_jsonb(const Fields *fields);
extern int	field_name_cmp(FieldName a, FieldName b);	/* jsonb's key order */

/* The one of n structures in the order of the names that they begin with; NULL: none. */
static inline void *
field_search(const void *first, int n, Size size, FieldName name)
{
	int			low = 0;
	int			high = n - 1;

	while (low <= high)
	{
		int			middle = (low + high) / 2;
		char	   *found = (char *) first + middle * size;
		int			cmp = field_name_cmp(*(const FieldName *) found, name);

		if (cmp == 0)
			return found;
		if (cmp < 0)
			low = middle + 1;
		else
			high = middle - 1;
	}
	return NULL;
}

extern const Field *fields_find(const Fields *fields, FieldName name);
/* The value of the field of that name; NULL: there is none. */
extern const JsonbValue *fields_value(const Fields *fields, const char *name);

/* ---------- sets of fields, all in jsonb's key order; nothing in them is copied ---------- */

/* The object's members; none if it is NULL. */
extern Fields fields_of(const Jsonb *object);
extern Fields fields_of_object(JsonbContainer *object);

/*
 * Walk two sets side by side.  Each call gives what both have under the next name, NULL
 * for the one that lacks it; false: there are no more.  Begin with first and second set.
 */
typedef struct FieldsAlign
{
	const Fields *first;
	const Fields *second;
	int			i;
	int			j;
} FieldsAlign;

extern bool fields_align(FieldsAlign *align, const Field **first, const Field **second);

/* Do the fields hold this one with an equal value? */
extern bool fields_hold(const Fields *fields, const Field *field);
/* All of both; the second's value where both have the name. */
extern Fields fields_union(const Fields *first, const Fields *second);
/* Those whose names the others don't have. */
extern Fields fields_without(const Fields *fields, const Fields *others);
/* Those that known lacks, or has with another value. */
extern Fields fields_difference(const Fields *fields, const Fields *known);
/* Those of known that now lacks, as nulls; what was null before isn't missed. */
extern Fields fields_missing(const Fields *known, const Fields *now);

extern FieldName field_name(const char *cstring);
/* '*' stands for all fields in priorities and conflicts, so no field is named so. */
extern bool field_name_valid(FieldName name);
extern int	field_name_cmp_bytes(const void *a, const void *b); /* for qsort */
extern char *field_name_cstring(FieldName name);
extern bool json_value_equal(const JsonbValue *a, const JsonbValue *b);

/* An empty set, with room for as many names as will be added. */
extern void field_names_init(FieldNames *names, int capacity);
extern void field_names_add(FieldNames *names, FieldName name);
extern bool field_names_has(const FieldNames *names, FieldName name);
/* A copy, the names too. */
extern FieldNames field_names_copy(const FieldNames *names);
extern void field_names_sort(FieldNames *names);
extern void field_names_push(JsonbParseState **state, const FieldNames *names);
/* Push a member of an object whose value they are. */
extern void field_names_push_member(JsonbParseState **state, const char *key,
									const FieldNames *names);

#endif							/* SYNCEXT_FIELDS_H */
