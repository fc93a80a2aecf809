/*
 * field_group.c
 *	  Groups of fields: what of a change's patch belongs together, and whose it becomes.
 *
 * doc/ladder.md, "Groups", has the rules.  A group is contested if the change alters any
 * field of it while another source vouches for any.  Then all of it goes to one side, and
 * where that is the change's, what the change doesn't name becomes null: it is in the
 * patch from the start, as an implied null that nothing else minds.
 */
#include "postgres.h"

#include "model/json.h"
#include "model/ladder_state.h"

/* ---------- the patch ---------- */

static GroupState *
group_state(const LadderState *s, const FieldRule *rule)
{
	if (rule == NULL || rule->group < 0)
		return NULL;
	for (int i = 0; i < s->ngroups; i++)
		if (s->groups[i].group == &s->rules->field_rules->groups[rule->group])
			return &s->groups[i];
	return NULL;
}

/* Note the groups that the change names a field of. */
static void
note_groups(LadderState *s)
{
	const FieldRules *rules = s->rules->field_rules;

	s->groups = palloc0(sizeof(GroupState) * rules->ngroups);
	for (int i = 0; i < s->change->fields.n; i++)
	{
		const FieldRule *rule = field_rule_find(rules, s->change->fields.field[i].name);

		if (rule != NULL && rule->group >= 0 && group_state(s, rule) == NULL)
			s->groups[s->ngroups++].group = &rules->groups[rule->group];
	}
}

void
field_group_complete(LadderState *s)
{
	const FieldRules *rules = s->rules->field_rules;
	Fields		all = {0};

	if (rules->ngroups == 0 || s->change->deleted || !(s->rules->ladder & RUNG_MERGE))
		return;
	note_groups(s);
	if (s->ngroups == 0)
		return;
	all.field = palloc0(sizeof(Field) * rules->n);
	for (int i = 0; i < rules->n; i++)
	{
		if (group_state(s, &rules->rule[i]) == NULL)
			continue;
		all.field[all.n].name = rules->rule[i].field;
		all.field[all.n++].value.type = jbvNull;
	}
	s->completed = *s->change;
	s->completed.fields = fields_union(&all, &s->change->fields);
	s->named = s->change->fields;
	s->change = &s->completed;
}

bool
field_group_is_implied(const LadderState *s, FieldName name)
{
	return s->ngroups > 0 && fields_find(&s->named, name) == NULL;
}

bool
field_group_leaves(const PatchField *match)
{
	return match->implied && match->current != NULL;
}

void
field_group_tie(LadderState *s)
{
	for (int i = 0; s->ngroups > 0 && i < s->change->fields.n; i++)
	{
		FieldName	name = s->change->fields.field[i].name;
		PatchField *match = &s->match[i];

		match->group = group_state(s, field_rule_find(s->rules->field_rules, name));
		match->implied = field_group_is_implied(s, name);
		if (match->implied && match->current == NULL)
			match->differs = false;
	}
}

/* ---------- is it contested? ---------- */

bool
field_group_left_null(const LadderState *s, const PatchField *match)
{
	return match->group != NULL && match->current->field.value.type == jbvNull &&
		strcmp(match->current->stamp.set_by, s->change->source) == 0;
}

/* Is the change made on the tombstone?  Then it has nothing of what there was before. */
static bool
knew_delete(const LadderState *s)
{
	if (!s->record->deleted)
		return false;
	return s->change->has_base ? !s->foreign_tombstone :
		(s->rules->ladder & RUNG_VERSION) && s->change->version > s->record->version;
}

/*
 * Does another source vouch for it, as far as the change can't know?  A birth knows nothing
 * of a record that somebody else has brought back since.
 */
static bool
is_opposed(const LadderState *s, const PatchField *match)
{
	const Stamp *stamp;

	if (match->current == NULL)
		return false;
	stamp = &match->current->stamp;
	if (knew_delete(s))
		return true;
	if (s->change->has_base)
		return (stamp->row_version > s->change->base || change_is_birth(s->change)) &&
			strcmp(stamp->set_by, s->change->source) != 0;
	return strcmp(stamp->source, s->change->source) != 0 &&
		(!(s->rules->ladder & RUNG_VERSION) || stamp->version == s->record->version);
}

static void
mark_group(LadderState *s, GroupState *group)
{
	bool		altered = false;
	bool		opposed = false;

	for (int i = 0; i < s->change->fields.n; i++)
	{
		PatchField *match = &s->match[i];

		if (match->group != group)
			continue;
		altered |= match->differs && !match->implied;
		match->opposed = match->contested || is_opposed(s, match);
		opposed |= match->opposed;
	}
	group->contested = altered && opposed;
}

/* A field that was set since the base is foreign with its group, be it as the change has it. */
static void
note_foreign(LadderState *s, PatchField *match)
{
	if (match->opposed && !match->contested && s->change->has_base && s->foreign != NULL)
		s->foreign[s->nforeign++] = match->current;
}

void
field_group_mark(LadderState *s)
{
	for (int i = 0; i < s->ngroups; i++)
		mark_group(s, &s->groups[i]);
	for (int i = 0; s->ngroups > 0 && i < s->change->fields.n; i++)
	{
		PatchField *match = &s->match[i];

		if (match->group == NULL || !match->group->contested)
			continue;
		note_foreign(s, match);
		match->contested = true;
	}
}

void
field_group_mark_named(LadderState *s, const FieldNames *names)
{
	for (int i = 0; s->ngroups > 0 && i < s->change->fields.n; i++)
		if (s->match[i].group != NULL && field_names_has(names, s->change->fields.field[i].name))
			s->match[i].group->contested = true;
}

/* ---------- whose does it become? ---------- */

/* What the change doesn't name is written as null where it wins, and else not at all. */
static void
give_group(LadderState *s, GroupState *group, bool take)
{
	group->take = take;
	for (int i = 0; i < s->change->fields.n; i++)
		if (s->match[i].group == group)
			s->match[i].take = take;
}

void
field_group_take_all(LadderState *s)
{
	for (int i = 0; i < s->ngroups; i++)
		if (s->groups[i].contested)
			give_group(s, &s->groups[i], true);
}

int64
ladder_group_rank(const FieldGroup *group, LadderRank rank, void *arg, const char *source)
{
	int64		best = RANK_NONE;

	for (int i = 0; i < group->n; i++)
		best = Min(best, rank(arg, source, group->field[i]));
	return best;
}

static int64
rank_of_group(const LadderState *s, const GroupState *group, const char *source)
{
	return ladder_group_rank(group->group, s->rules->rank, s->rules->rank_arg, source);
}

/* The field of the best ranked source on the record's side. */
static const RecordField *
best_opponent(const LadderState *s, const GroupState *group)
{
	const RecordField *best = NULL;

	for (int i = 0; i < s->change->fields.n; i++)
	{
		const PatchField *match = &s->match[i];

		if (match->group != group || !match->opposed ||
			(best != NULL && strcmp(best->stamp.source, match->current->stamp.source) == 0))
			continue;
		if (best == NULL || rank_of_group(s, group, match->current->stamp.source) <
			rank_of_group(s, group, best->stamp.source))
			best = match->current;
	}
	return best;
}

/* By the later time: of the change, or of what others vouch for. */
static FieldVerdict
decide_by_latest(const LadderState *s, const GroupState *group)
{
	TimestampTz latest = 0;
	bool		known = false;

	for (int i = 0; i < s->change->fields.n; i++)
	{
		const PatchField *match = &s->match[i];

		if (match->group != group || !match->opposed || !match->current->stamp.has_updated_at)
			continue;
		latest = known ? Max(latest, match->current->stamp.updated_at) :
			match->current->stamp.updated_at;
		known = true;
	}
	if (!known || !s->change->has_updated_at || s->change->updated_at == latest)
		return FIELD_UNDECIDED;
	return s->change->updated_at > latest ? FIELD_TAKEN : FIELD_STANDS;
}

/* The record's side of a group, or the change's, as an object. */
static JsonbValue
side_of_group(const LadderState *s, const GroupState *group, bool ours)
{
	Fields		side = {0, palloc(sizeof(Field) * s->change->fields.n)};

	for (int i = 0; i < s->change->fields.n; i++)
	{
		const PatchField *match = &s->match[i];

		if (match->group == group && (ours ? match->current != NULL : !match->implied))
			side.field[side.n++] = ours ? match->current->field : s->change->fields.field[i];
	}
	return json_to_value(fields_to_jsonb(&side));
}

/* A function has to choose one of the sides: a value of its own would be half of each. */
static FieldVerdict
decide_by_function(LadderState *s, GroupState *group)
{
	RecordField ours = *best_opponent(s, group);
	JsonbValue	theirs = side_of_group(s, group, false);
	const JsonbValue *combined;
	FieldVerdict verdict;

	ours.field.value = side_of_group(s, group, true);
	verdict = s->rules->function(s->rules->function_arg, s->change, group->group->rule, &ours,
								 &theirs, &combined, &group->failed);
	if (verdict != FIELD_COMBINED)
		return verdict;
	group->failed = pstrdup("it chose neither side");
	return FIELD_UNDECIDED;
}

static FieldVerdict
decide_by_rule(LadderState *s, GroupState *group)
{
	switch (group->group->rule->kind)
	{
		case FIELD_RULE_LATEST:
			return decide_by_latest(s, group);
		case FIELD_RULE_KEEP:
			return FIELD_STANDS;
		case FIELD_RULE_FUNCTION:
			return decide_by_function(s, group);
		default:
			return FIELD_UNDECIDED;
	}
}

RulesOutcome
field_group_apply_rules(LadderState *s)
{
	RulesOutcome outcome = RULES_DECIDED;

	for (int i = 0; i < s->ngroups; i++)
	{
		GroupState *group = &s->groups[i];
		FieldVerdict verdict;

		if (!group->contested)
			continue;
		if (group->group->rule->kind == FIELD_RULE_MANUAL)
			return RULES_FORBID;
		verdict = decide_by_rule(s, group);
		if (verdict == FIELD_UNDECIDED)
		{
			outcome = RULES_LEFT_SOME;
			continue;
		}
		group->rule = group->group->rule;
		give_group(s, group, verdict == FIELD_TAKEN);
	}
	return outcome;
}

bool
field_group_apply_ranks(LadderState *s)
{
	for (int i = 0; i < s->ngroups; i++)
	{
		GroupState *group = &s->groups[i];
		int64		ours;
		int64		theirs;

		if (!group->contested || group->rule != NULL)
			continue;
		group->opponent = best_opponent(s, group)->stamp.source;
		ours = rank_of_group(s, group, s->change->source);
		theirs = rank_of_group(s, group, group->opponent);
		if (ours == theirs)
			return false;
		give_group(s, group, ours < theirs);
	}
	return true;
}

/* ---------- what is told ---------- */

void
field_group_append_reason(const LadderState *s, StringInfo text, const GroupState *group)
{
	const char *winner = group->take ? s->change->source : group->opponent;
	const char *loser = group->take ? group->opponent : s->change->source;
	JsonbValue	ours;
	JsonbValue	theirs;

	appendStringInfo(text, "group %s: ", group->group->name);
	if (group->rule == NULL)
	{
		appendStringInfo(text, "%s (rank %s) before %s (rank %s)",
						 winner, ladder_rank_text(rank_of_group(s, group, winner)),
						 loser, ladder_rank_text(rank_of_group(s, group, loser)));
		return;
	}
	ours = side_of_group(s, group, true);
	theirs = side_of_group(s, group, false);
	appendStringInfo(text, "%s of %s and %s", field_rule_label(group->rule),
					 ladder_value_text(&ours), ladder_value_text(&theirs));
}

/* "street, zip", of a group that the change has won; NULL: it named all of it. */
static char *
emptied(const LadderState *s, const GroupState *group)
{
	StringInfoData names;

	initStringInfo(&names);
	for (int i = 0; i < s->change->fields.n; i++)
	{
		const PatchField *match = &s->match[i];

		if (match->group == group && field_group_leaves(match) && match->take && match->differs)
			appendStringInfo(&names, "%s%s", names.len > 0 ? ", " : "",
							 field_name_cstring(s->change->fields.field[i].name));
	}
	return names.len > 0 ? names.data : NULL;
}

void
field_group_tell(LadderState *s)
{
	Decision   *d = s->decision;

	for (int i = 0; i < s->ngroups; i++)
	{
		const GroupState *group = &s->groups[i];
		char	   *names = d->write == WRITE_NOTHING ? NULL : emptied(s, group);

		if (names != NULL)
			d->reason = psprintf("%s; group %s goes to one side, so that %s, which the change does not name, becomes null",
								 d->reason, group->group->name, names);
		if (group->failed != NULL)
			d->reason = psprintf("%s; the rule of group %s failed: %s", d->reason,
								 group->group->name, group->failed);
	}
}
