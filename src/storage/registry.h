/*
 * registry.h
 *	  Sources, entities, priorities, field rules, references and subscriptions,
 *	  cached in the backend.
 *
 * The tables are edited with plain SQL.  Their triggers send a relcache
 * invalidation, which marks the cache; the next registry_get rebuilds it.  A
 * Registry that was handed out stays valid until the end of the transaction.
 */
#ifndef SYNCEXT_REGISTRY_H
#define SYNCEXT_REGISTRY_H

#include "utils/jsonpath.h"

#include "model/ladder.h"
#include "storage/match_rule.h"
#include "storage/relations.h"

typedef struct Rank
{
	const char *entity;			/* or "*" */
	const char *field;			/* or "*" */
	int64		rank;
} Rank;

/* The records (filter) and fields (mask) of an entity that a source may see. */
typedef struct Route
{
	const char *entity;
	JsonPath   *filter;			/* a predicate on the fields; NULL: every record */
	FieldNames	mask;			/* the fields that it may not see */
} Route;

typedef struct Source
{
	const char *name;
	const char *role_name;		/* NULL: none */
	Oid			role;			/* InvalidOid: administrators only */
	bool		single_writer;
	int			retry_cap;		/* failures until a change is dead */
	bool		relay;			/* a hub, that is believed which source has said what */
	int			nentities;		/* subscription; -1: every entity */
	const char **entities;
	int			nranks;
	Rank	   *ranks;			/* sorted by entity, field */
	int			nroutes;
	Route	   *routes;
	bool		filtered;		/* one of them has a filter */
	bool		armed;			/* all of them are in force */
	int			nkeyed;
	const char **keyed;			/* entities whose records it names by keys of its own */
	bool		keys_armed;		/* all that it has is bound there */
} Source;

typedef enum OnDelete
{
	ON_DELETE_IGNORE,
	ON_DELETE_RESTRICT,
	ON_DELETE_CASCADE
} OnDelete;

typedef struct Reference
{
	const char *field;
	const char *parent;			/* entity */
	OnDelete	on_delete;
} Reference;

typedef struct Entity
{
	const char *name;
	Ladder		ladder;
	DeleteMode	deletes;		/* of a field ladder */
	FieldRules	field_rules;	/* its own, and those of every entity */
	int			depth;			/* among the references: 0 has no parent */
	int			nreferences;
	Reference  *references;
	bool		is_parent;		/* others refer to it */
	bool		merged;			/* records of it were merged: ids may be aliases */
	bool		holds_children; /* one of them with restrict or cascade */
	bool		unlisted;		/* whose children have not been listed yet */
	bool		tracks_parents; /* it refers with restrict or cascade */
	int			nmatches;
	MatchRule  *matches;		/* sorted by name */
} Entity;

/* What sync_grant gave a role. */
typedef enum PrivilegeKind
{
	PRIVILEGE_MONITOR,
	PRIVILEGE_STEWARD,
	PRIVILEGE_ADMIN
} PrivilegeKind;

typedef struct Privilege
{
	Oid			role;			/* InvalidOid: there is no such role */
	PrivilegeKind kind;
	const char *entity;			/* or "*" */
} Privilege;

typedef struct Registry
{
	int			nsources;
	Source	   *sources;		/* sorted by name */
	int			nentities;
	Entity	   *entities;		/* sorted by name */
	bool		any_keyed;		/* a source has keys of its own */
	int			nprivileges;
	Privilege  *privileges;
	int			current_log;	/* which change_log_N is written to */
	int64		epoch;			/* grows whenever the database may have gone back in time */
	int			notifier_pid;	/* the process to wake when it was; 0: none */
} Registry;

/* Called where a transaction has changed what registry_get() returns; process/wake sets it. */
extern void (*registry_changed_hook) (void);

extern const Registry *registry_get(void);
/* A number that changes whenever what registry_get() returns has. */
extern uint64 registry_generation(void);
extern const Source *registry_source(const Registry *registry, const char *name);	/* or NULL */
extern const Entity *registry_entity(const Registry *registry, const char *name);	/* or NULL */
extern int64 registry_rank(const Source *source, const char *entity, FieldName field);
extern bool source_gets_entity(const Source *source, const char *entity);
extern const Route *source_route(const Source *source, const char *entity); /* or NULL */
/* Does the source name the entity's records by keys of its own? */
extern bool source_has_own_keys(const Source *source, const char *entity);

/* Say whether the source's edits come in order; see doc/ladder.md, the rung of versions. */
extern void source_set_single_writer(const char *source, bool single_writer);

#endif							/* SYNCEXT_REGISTRY_H */
