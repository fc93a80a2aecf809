/*
 * names.c
 *	  Arrays of names, as columns and arguments hold them; a relation's name, and a role's.
 *
 * The only file that makes a text[] or takes one apart: it heeds the nulls.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "compat.h"
#include "storage/names.h"

char **
names_of_array(Datum array, const char *what, int *n)
{
	Datum	   *elements;
	bool	   *nulls;
	int			nelements;
	char	  **names;

	deconstruct_array(DatumGetArrayTypeP(array), TEXTOID, -1, false, TYPALIGN_INT, &elements,
					  &nulls, &nelements);
	names = palloc(sizeof(char *) * (nelements + 1));
	*n = 0;
	for (int i = 0; i < nelements; i++)
	{
		if (!nulls[i])
			names[(*n)++] = TextDatumGetCString(elements[i]);
		else if (what != NULL)
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("%s must not contain null", what)));
	}
	return names;
}

void
field_names_of_array(Datum array, FieldNames *names)
{
	int			n;
	char	  **elements = names_of_array(array, NULL, &n);

	field_names_init(names, n);
	for (int i = 0; i < n; i++)
		field_names_add(names, field_name(elements[i]));
}

Datum
names_to_array(const List *names)
{
	Datum	   *elements = palloc(sizeof(Datum) * (list_length(names) + 1));
	int			n = 0;

	foreach_ptr(const char, name, names)
		elements[n++] = CStringGetTextDatum(name);
	return PointerGetDatum(construct_array(elements, n, TEXTOID, -1, false, TYPALIGN_INT));
}

Datum
field_names_to_array(const FieldNames *names)
{
	Datum	   *elements = palloc(sizeof(Datum) * (names->n + 1));

	for (int i = 0; i < names->n; i++)
		elements[i] = PointerGetDatum(cstring_to_text_with_len(names->name[i].data,
															   names->name[i].len));
	return PointerGetDatum(construct_array(elements, names->n, TEXTOID, -1, false, TYPALIGN_INT));
}

char *
names_of_relation(Oid relid)
{
	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)),
									  get_rel_name(relid));
}

Oid
role_of_name(const char *name)
{
	return name != NULL ? get_role_oid(name, true) : InvalidOid;
}
