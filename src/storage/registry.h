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
#include "storage/relations.h"

typedef struct Rank
{
	const char *entity;			/* or "*" */
	const char *field;			/* or "*" */
	int64		rank;
} Rank;

/* What of an entity a source is let see. */
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
	int			nentities;		/* subscription; -1: every entity */
	const char **entities;
	int			nranks;
	Rank	   *ranks;			/* sorted by entity, field */
	int			nroutes;
	Route	   *routes;
	bool		filtered;		/* one of them has a filter */
	bool		armed;			/* all of them are in force */
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
	FieldRules	field_rules;	/* its own, and those of every entity */
	int			depth;			/* among the references: 0 has no parent */
	int			nreferences;
	Reference  *references;
	bool		is_parent;		/* others refer to it */
	bool		holds_children; /* one of them with restrict or cascade */
	bool		unlisted;		/* whose children have not been listed yet */
	bool		tracks_parents; /* it refers with restrict or cascade */
} Entity;

typedef struct Registry
{
	int			nsources;
	Source	   *sources;		/* sorted by name */
	int			nentities;
	Entity	   *entities;		/* sorted by name */
	int			current_log;	/* which change_log_N is written to */
	int64		epoch;			/* grows whenever the database may have gone back in time */
	int			notifier_pid;	/* whom to wake when it was; 0: nobody */
} Registry;

extern const Registry *registry_get(void);
/* A number that changes whenever what registry_get() returns has. */
extern uint64 registry_generation(void);
extern const Source *registry_source(const Registry *registry, const char *name);	/* or NULL */
extern const Entity *registry_entity(const Registry *registry, const char *name);	/* or NULL */
extern int64 registry_rank(const Source *source, const char *entity, FieldName field);
extern bool source_gets_entity(const Source *source, const char *entity);
extern const Route *source_route(const Source *source, const char *entity); /* or NULL */

/*
 * The same, raising 42704 with a hint where the name is unknown; but 42501, whatever
 * the name, if the user has no business here.
 */
extern const Source *registry_source_required(const Registry *registry, const char *name);
extern const Entity *registry_entity_required(const Registry *registry, const char *name);

/* May the current user act as this source?  The second raises 42501. */
extern bool source_role_held(const Source *source);
extern void source_role_check(const Source *source);
extern bool role_is_administrator(void);
extern bool role_reads_records(void);
/*
 * Raises 42501 if the user may act as no source at all: to such a one an unknown
 * name and one that isn't theirs must sound alike.  Comes before every error that
 * tells if a source or an entity exists.  source is the name that it gave, if any.
 */
extern void registry_check_stranger(const Registry *registry, const char *source);

#endif							/* SYNCEXT_REGISTRY_H */
