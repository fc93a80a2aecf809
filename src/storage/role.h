/*
 * role.h
 *	  Roles that our tables keep by name.
 */
#ifndef SYNCEXT_ROLE_H
#define SYNCEXT_ROLE_H

/*
 * The role of that name, InvalidOid if it is NULL or there is none: it was dropped or
 * renamed, or the dump came without it.  What keeps the answer is outdated with
 * the configuration's caches when roles change.
 */
extern Oid	role_of_name(const char *name);

#endif							/* SYNCEXT_ROLE_H */
