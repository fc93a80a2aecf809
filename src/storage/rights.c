/*
 * rights.c
 *	  What the current user may do: act as a source, read records, administer.
 *
 * An error must not tell a user without any rights here which sources and entities
 * there are, so looking up a name that may be unknown stands here, too.
 */
#include "postgres.h"

#include "catalog/pg_authid.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "compat.h"
#include "errcodes.h"
#include "model/clip.h"
#include "storage/hints.h"
#include "storage/names.h"
#include "storage/rights.h"

/* Does a role hold a privilege that sync_grant gave, for the entity (NULL: for any)? */
static bool
privilege_held(Oid role, PrivilegeKind kind, const char *entity)
{
	const Registry *r = registry_get();

	for (int i = 0; i < r->nprivileges; i++)
	{
		const Privilege *p = &r->privileges[i];

		if (p->kind == kind && OidIsValid(p->role) &&
			(entity == NULL || strcmp(p->entity, "*") == 0 || strcmp(p->entity, entity) == 0) &&
			has_privs_of_role(role, p->role))
			return true;
	}
	return false;
}

/* True for superusers, and for roles with the privileges of the extension's owner. */
bool
role_is_owner(void)
{
	return superuser() || has_privs_of_role(GetUserId(), registry_owner());
}

bool
role_has_admin_privilege(Oid role)
{
	return privilege_held(role, PRIVILEGE_ADMIN, NULL);
}

bool
role_is_administrator(void)
{
	return role_is_owner() || role_has_admin_privilege(GetUserId());
}

bool
role_is_monitor(void)
{
	return role_is_administrator() || has_privs_of_role(GetUserId(), ROLE_PG_MONITOR) ||
		privilege_held(GetUserId(), PRIVILEGE_MONITOR, NULL);
}

bool
role_is_steward(const char *entity)
{
	return role_is_administrator() || privilege_held(GetUserId(), PRIVILEGE_STEWARD, entity);
}

bool
source_role_held(const Source *source)
{
	if (OidIsValid(source->role) && has_privs_of_role(GetUserId(), source->role))
		return true;
	return role_is_administrator();
}

/* True for stewards, and roles that may read the table of golden records. */
bool
role_reads_records(const char *entity)
{
	return role_is_steward(entity) || pg_class_aclcheck(registry_relation("canonical"), GetUserId(),
							 ACL_SELECT) == ACLCHECK_OK;
}

static bool
holds_any_source(const Registry *r)
{
	for (int i = 0; i < r->nsources; i++)
		if (OidIsValid(r->sources[i].role) &&
			has_privs_of_role(GetUserId(), r->sources[i].role))
			return true;
	return role_is_administrator();
}

void
registry_check_stranger(const Registry *r, const char *source)
{
	if (!holds_any_source(r) && !role_reads_records(NULL))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 source != NULL ?
				 errmsg("permission denied to act as source \"%s\"", clip_string(source, CLIP_QUOTE)) :
				 errmsg("permission denied to read records of this hub"),
				 errhint("Ask an administrator of the hub to make role %s a member of a source's role.",
						 quote_identifier(GetUserNameFromId(GetUserId(), false)))));
}

/* A hint must not advise to grant a superuser's role. */
static bool
role_is_grantable(const Source *source)
{
	return OidIsValid(source->role) && !superuser_arg(source->role) &&
		GetUserNameFromId(source->role, true) != NULL;
}

void
source_role_check(const Source *source)
{
	if (source_role_held(source))
		return;
	registry_check_stranger(registry_get(), source->name);
	if (role_is_grantable(source))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to act as source \"%s\"", source->name),
				 errhint("Become a member of its role: GRANT %s TO %s.",
						 quote_identifier(GetUserNameFromId(source->role, false)),
						 quote_identifier(GetUserNameFromId(GetUserId(), false)))));
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied to act as source \"%s\"", source->name),
			 source->role_name != NULL && !OidIsValid(source->role) ?
			 errdetail("Only administrators may act as it, for its role \"%s\" does not exist.", source->role_name) :
			 errdetail("Only administrators may act as it, for its role is theirs or it has none."),
			 errhint("Give it a role of its own: UPDATE syncext.source SET role = '…' WHERE name = %s.",
					 quote_literal_cstr(source->name))));
}

void
source_relay_check(const Source *source)
{
	if (source->relay)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("source \"%s\" may not be a relay, that says what other sources have said",
					source->name),
			 errhint("If it is a hub that is trusted with that: UPDATE syncext.source SET relay = true WHERE name = %s.",
					 quote_literal_cstr(source->name))));
}

/* ---------- names that may be unknown ---------- */

const Source *
registry_source_required(const Registry *r, const char *name)
{
	const Source *source = registry_source(r, name);

	if (source == NULL)
	{
		registry_check_stranger(r, name);
		ereport(ERROR,
				(errcode(ERRCODE_SYNC_UNKNOWN_NAME),
				 errmsg("source \"%s\" does not exist", name),
				 errhint_call("Add it with SELECT sync_add_source(%s).", quote_literal_cstr(name))));
	}
	return source;
}

const Entity *
registry_entity_required(const Registry *r, const char *name)
{
	const Entity *entity = registry_entity(r, name);

	if (entity == NULL)
	{
		registry_check_stranger(r, NULL);
		ereport(ERROR,
				(errcode(ERRCODE_SYNC_UNKNOWN_NAME),
				 errmsg("entity \"%s\" does not exist", name),
				 errhint_call("Add it with SELECT sync_add_entity(%s).", quote_literal_cstr(name))));
	}
	return entity;
}

bool
rights_of_attacher(const Binding *binding)
{
	const Source *source = registry_source(registry_get(), binding->source);
	Oid			role = role_of_name(binding->attached_by);
	Oid			by_right_of = role_of_name(binding->attached_as);

	if (source == NULL || !OidIsValid(role))
		return true;
	if ((OidIsValid(source->role) && has_privs_of_role(role, source->role)) ||
		role_has_admin_privilege(role))
		return true;
	/* when an administrator gave the source to another role, the relation stayed its own */
	return OidIsValid(by_right_of) && by_right_of != source->role &&
		has_privs_of_role(role, by_right_of);
}

void
relation_check_exists(Oid relation)
{
	if (get_rel_name(relation) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", relation)));
}

void
relation_check_owner(Oid relation, const char *hint)
{
	relation_check_exists(relation);
	if (!relation_ownercheck_compat(relation, GetUserId()))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of relation \"%s\"", get_rel_name(relation)),
				 hint != NULL ? errhint("%s", hint) : 0));
}
