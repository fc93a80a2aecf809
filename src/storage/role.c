/*
 * role.c
 *	  Roles that our tables keep by name.
 *
 * By OID a dump could not be restored where a role is missing, and one that is
 * dropped would leave a number that another role may get.
 */
#include "postgres.h"

#include "utils/acl.h"

#include "storage/role.h"

Oid
role_of_name(const char *name)
{
	return name != NULL ? get_role_oid(name, true) : InvalidOid;
}
