/*
 * match_link.c
 *	  The record that a new one of a source is, by a match rule.
 *
 * Whether it is linked tells its source of a record.  So only records that the source
 * sees count, by rules of fields that it sees: what else there is makes no difference to
 * what it is answered, and a steward is told of it.
 */
#include "postgres.h"

#include "compat.h"
#include "hub/match_link.h"
#include "hub/match_normalize.h"
#include "hub/matching.h"
#include "hub/visibility.h"

/* What is being looked for. */
typedef struct Linking
{
	const ApplyItem *item;
	MatchKeys  *match_keys;
	Canonical  *records;
	const char *met;			/* the record; NULL: none so far */
	bool		several;		/* no, more than one */
	const MatchRule *by;		/* the first rule that links it; NULL: none so far */
} Linking;

static bool
names_source(const MatchRule *rule, const Source *source)
{
	for (int i = 0; i < rule->nlink_sources; i++)
		if (strcmp(rule->link_sources[i], source->name) == 0)
			return true;
	return false;
}

static bool
rule_links(const MatchRule *rule, const Source *source)
{
	return rule->links && names_source(rule, source);
}

static bool
any_links(const ApplyItem *item)
{
	for (int i = 0; i < item->entity->nmatches; i++)
		if (rule_links(&item->entity->matches[i], item->source))
			return true;
	return false;
}

/* Does the source see all fields of the rule? */
static bool
sees_fields(const ApplyItem *item, const MatchRule *rule)
{
	const Route *route = source_route(item->source, item->entity->name);

	for (int i = 0; route != NULL && i < rule->fields.n; i++)
		if (field_names_has(&route->mask, rule->fields.name[i]))
			return false;
	return true;
}

/* Does it see the record, which lives? */
static bool
sees_record(void *arg, const char *external_id)
{
	const Linking *linking = arg;
	const ApplyItem *item = linking->item;

	return visibility_shows_living(item->source, item->entity->name, external_id, linking->records);
}

static void
meet_by(Linking *linking, const MatchRule *rule)
{
	MatchKey	key = {.entity = linking->item->entity->name, .external_id = "", .rule = rule->name};
	char	   *failed = NULL;
	List	   *others;

	key.key = match_normalize(rule, &linking->item->change->fields, &failed);
	if (key.key == NULL)
		return;
	/* how many others share it must make no difference either */
	others = match_keys_sharing(linking->match_keys, &key, MATCH_MAX_SHARED + 1, sees_record, linking);
	if (list_length(others) > MATCH_MAX_SHARED)
		return;
	foreach_ptr(char, other, others)
	{
		if (linking->met == NULL)
			linking->met = other;
		else if (strcmp(linking->met, other) != 0)
			linking->several = true;
		if (linking->by == NULL && rule_links(rule, linking->item->source))
			linking->by = rule;
	}
}

const char *
match_link(const ApplyItem *item, SourceKeys *keys, Canonical *records, const MatchRule **rule)
{
	Linking		linking = {.item = item, .records = records};
	SourceKey	current;

	if (!any_links(item))
		return NULL;
	linking.match_keys = mapped_open(&match_key_def, false);
	for (int i = 0; i < item->entity->nmatches && !linking.several; i++)
		if (sees_fields(item, &item->entity->matches[i]))
			meet_by(&linking, &item->entity->matches[i]);
	mapped_close(linking.match_keys);
	if (linking.by == NULL || linking.several ||
		source_key_current(keys, item->source->name, item->entity->name, linking.met, &current))
		return NULL;
	*rule = linking.by;
	return linking.met;
}
