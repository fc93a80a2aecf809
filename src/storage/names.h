/*
 * names.h
 *	  Arrays of names, as columns and arguments hold them; a relation's name, and a role's.
 */
#ifndef SYNCEXT_NAMES_H
#define SYNCEXT_NAMES_H

#include "model/fields.h"
#include "nodes/pg_list.h"

/*
 * The elements of a text[], in order, however many dimensions it has.  A null is
 * no name: it is left out, or, where what says whose it is, raises 22004.
 */
extern char **names_of_array(Datum array, const char *what, int *n);

/* The same as fields' names; nulls are left out. */
extern void field_names_of_array(Datum array, FieldNames *names);

/* A text[] of them: of a list of char *, and of fields' names. */
extern Datum names_to_array(const List *names);
extern Datum field_names_to_array(const FieldNames *names);

/* A relation's name, qualified and quoted. */
extern char *names_of_relation(Oid relid);

/*
 * The role of that name, InvalidOid if it is NULL or there is none: it was dropped or
 * renamed, or the dump came without it.  What keeps the answer is outdated with
 * the configuration's caches when roles change.
 */
extern Oid	role_of_name(const char *name);

#endif							/* SYNCEXT_NAMES_H */
