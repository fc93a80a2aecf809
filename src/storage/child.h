/*
 * child.h
 *	  Which live records refer to a record, for references whose deletes are
 *	  restricted or cascade: table syncext.child.
 */
#ifndef SYNCEXT_CHILD_H
#define SYNCEXT_CHILD_H

#include "nodes/pg_list.h"

#include "storage/mapped.h"

typedef MappedTable Children;

typedef struct Child
{
	const char *parent_entity;
	const char *parent_id;
	const char *entity;
	const char *external_id;
	const char *field;
} Child;

extern const MappedDef child_def;

/* The children of a record, a list of Child. */
extern List *children_of(Children *children, const char *parent_entity, const char *parent_id);
extern bool children_have(const List *children, const char *entity, const char *external_id,
						  const char *field);

#endif							/* SYNCEXT_CHILD_H */
