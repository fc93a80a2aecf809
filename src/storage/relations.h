/*
 * relations.h
 *	  Which relations and functions are ours.
 */
#ifndef SYNCEXT_RELATIONS_H
#define SYNCEXT_RELATIONS_H

#include "storage/lockdefs.h"
#include "utils/relcache.h"

#define SYNCEXT_NAME	"syncext"	/* of the extension, and of its schema */

/* Is the extension in this database?  The library may be where it isn't. */
extern bool extension_is_here(void);
/* Does its install script run? */
extern bool extension_is_being_made(void);

/* A table, index or sequence of schema syncext, by name; raises if it isn't there. */
extern Oid	registry_relation(const char *name);
extern Oid	registry_schema(void);
/* Whose an object of a catalog is; InvalidOid: it is gone. */
extern Oid	object_owner(Oid class, Oid object);
/* Open and lock one; raises if it was dropped while others kept it locked. */
extern Relation registry_open(Oid relid, LOCKMODE lockmode);
/* The tables' owner: what is done to them in the background is done as that role. */
extern Oid	registry_owner(void);
/* The schema that sync_* are in; InvalidOid if the extension isn't here. */
extern Oid	extension_functions_schema(void);
/* The schema of that name if it is a member of another extension, else InvalidOid. */
extern Oid	extension_schema(const char *extension, const char *schema);
/* A function of ours without arguments, as a trigger has. */
extern Oid	extension_function(const char *name);

#endif							/* SYNCEXT_RELATIONS_H */
