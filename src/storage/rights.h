/*
 * rights.h
 *	  What the current user may do: act as a source, read records, administer.
 */
#ifndef SYNCEXT_RIGHTS_H
#define SYNCEXT_RIGHTS_H

#include "storage/binding.h"
#include "storage/registry.h"

extern bool role_is_owner(void);
/* Has the role been made an admin by sync_grant, which can be taken back? */
extern bool role_has_admin_privilege(Oid role);
/* Either of the two, of the current user. */
extern bool role_is_administrator(void);
/* May the current user watch the hub as a whole, without seeing its records? */
extern bool role_is_monitor(void);
/* May it decide conflicts of the entity; NULL: of any? */
extern bool role_is_steward(const char *entity);
/* Does it see every record of the entity; NULL: of any? */
extern bool role_reads_records(const char *entity);

/* May the current user act as this source?  The second raises 42501 if not. */
extern bool source_role_held(const Source *source);
extern void source_role_check(const Source *source);
/* Raise 42P01 if there is no such relation; the second, too, 42501 if the current user doesn't own it. */
extern void relation_check_exists(Oid relation);
extern void relation_check_owner(Oid relation, const char *hint);
/*
 * May the role that attached the relation still act as the source?  All edits of the
 * relation are sent by that right.  A role that was dropped can't lose it.
 */
extern bool rights_of_attacher(const Binding *binding);

/*
 * Raise 42501 unless an administrator has marked the source as a relay, that may say what
 * other sources have said.
 */
extern void source_relay_check(const Source *source);

/*
 * Raise 42501 if the current user may act as no source at all: to such a user an
 * unknown name must look like one that belongs to others.  Call it before every
 * error that tells whether a source or an entity exists.  source is the name that
 * the user gave, or NULL.
 */
extern void registry_check_stranger(const Registry *registry, const char *source);

/*
 * Like registry_source() and registry_entity(), but raise 42704 with a hint where the
 * name is unknown; or 42501, whatever the name, as registry_check_stranger() does.
 */
extern const Source *registry_source_required(const Registry *registry, const char *name);
extern const Entity *registry_entity_required(const Registry *registry, const char *name);

#endif							/* SYNCEXT_RIGHTS_H */
