/*
 * ladder.c
 *	  The conflict ladder: what becomes of a change, given the record.
 *
 * The rules, and the names of the rungs, are those of doc/ladder.md, "The rungs" and
 * "What a write does", in the same order.  Pure: the result depends on the arguments
 * alone.
 */
#include "postgres.h"

#include "lib/stringinfo.h"

#include "model/ladder.h"
#include "model/ladder_state.h"

/* ---------- the state that the rungs share ---------- */

/* Line the patch up with the record: both are in the same key order. */
static void
state_match(LadderState *s)
{
	const Change *change = s->change;
	const Record *record = s->record;
	int			r = 0;

	s->match = palloc0(sizeof(PatchField) * Max(change->fields.n, 1));
	s->says_new = change->deleted != record->deleted;
	for (int i = 0; i < change->fields.n; i++)
	{
		PatchField *match = &s->match[i];

		while (r < record->nfields &&
			   field_name_cmp(record->fields[r].field.name, change->fields.field[i].name) < 0)
			r++;
		if (r < record->nfields &&
			field_name_cmp(record->fields[r].field.name, change->fields.field[i].name) == 0)
			match->current = &record->fields[r];
		match->differs = match->current == NULL ||
			!json_value_equal(&match->current->field.value, &change->fields.field[i].value);
	}
	field_group_tie(s);
	for (int i = 0; i < change->fields.n; i++)
		s->says_new |= s->match[i].differs && !s->match[i].implied;
}

static int64
rank_of(const LadderState *s, const char *source, FieldName field)
{
	return s->rules->rank(s->rules->rank_arg, source, field);
}

static int64
rank_of_record(const LadderState *s, const char *source)
{
	FieldName	whole = {NULL, 0};

	return rank_of(s, source, whole);
}

static bool
has_rung(const LadderState *s, LadderRung rung)
{
	return (s->rules->ladder & rung) != 0;
}

/* Is a delete on either side? */
static bool
delete_involved(const LadderState *s)
{
	return s->change->deleted || s->record->deleted;
}

/* One more than the record's, but never beyond what a document can name. */
static int64
next_version(const Record *record)
{
	return Min(record->version + 1, CHANGE_MAX_VERSION);
}

/* ---------- the rungs ---------- */

/* A record that isn't there has row version 0; a tombstone is there. */
static int64
present_row_version(const Record *record)
{
	return record->exists ? record->row_version : 0;
}

char *
ladder_precondition_fails(const Change *change, const Record *record)
{
	if (!change->has_if_match || change->if_match == present_row_version(record))
		return NULL;
	return psprintf("the record's row version is " INT64_FORMAT ", not the " INT64_FORMAT " of ifMatch",
					present_row_version(record), change->if_match);
}

static bool
rung_if_match(LadderState *s)
{
	char	   *why = ladder_precondition_fails(s->change, s->record);

	if (why != NULL)
		ladder_set_aside(s, 412, RESOLUTION_PRECONDITION_FAILED, false, why);
	return why != NULL;
}

/* Did another source set this, as far as order goes? */
static bool
set_by_another(const LadderState *s, const char *set_by)
{
	return !s->rules->single_writer || strcmp(set_by, s->change->source) != 0;
}

/*
 * Mark what others set after the row version that the edit was made on:
 * patch fields, all fields for a delete, or a tombstone as a whole.
 */
static void
mark_foreign(LadderState *s)
{
	const Change *change = s->change;
	const Record *record = s->record;

	if (record->deleted)
	{
		s->foreign_tombstone = change->base > 0 && change->base < record->row_version &&
			set_by_another(s, record->last_source);
		return;
	}
	s->foreign = palloc0(sizeof(RecordField *) * Max(record->nfields, 1));
	if (change->deleted)
	{
		for (int i = 0; i < record->nfields; i++)
		{
			RecordField *field = &record->fields[i];

			if (field->stamp.row_version > change->base && set_by_another(s, field->stamp.set_by))
				s->foreign[s->nforeign++] = field;
		}
		return;
	}
	for (int i = 0; i < change->fields.n; i++)
	{
		PatchField *match = &s->match[i];
		RecordField *field = match->current;

		if (field == NULL || !match->differs || match->implied ||
			field->stamp.row_version <= change->base ||
			!set_by_another(s, field->stamp.set_by) || field_group_left_null(s, match))
			continue;
		match->contested = true;
		s->foreign[s->nforeign++] = field;
	}
}

/* Have others set anything since the change's base, whatever the change sets? */
static bool
has_moved_on(const LadderState *s)
{
	if (s->foreign_tombstone)
		return true;
	for (int i = 0; i < s->record->nfields; i++)
	{
		const Stamp *stamp = &s->record->fields[i].stamp;

		if (stamp->row_version > s->change->base && set_by_another(s, stamp->set_by))
			return true;
	}
	return false;
}

static bool
rung_base(LadderState *s)
{
	if (!s->says_new)
	{
		ladder_restamp(s, RESOLUTION_NO_CHANGE, "the record says all that already");
		return true;
	}
	mark_foreign(s);
	field_group_mark(s);
	if (s->change->cascade && has_moved_on(s))
	{
		ladder_set_aside(s, 200, RESOLUTION_STALE_SKIP, true,
						 psprintf("the record has moved on since row version " INT64_FORMAT
								  ", and a foreign key did this when another one was delivered",
								  s->change->base));
		return true;
	}
	if (s->nforeign > 0 || s->foreign_tombstone)
		return false;
	ladder_write_whole(s, RESOLUTION_VERSION_WIN, next_version(s->record),
					   psprintf("nobody else set these fields after row version " INT64_FORMAT,
								s->change->base));
	return true;
}

static bool
rung_version(LadderState *s)
{
	int64		incoming = s->change->version;
	int64		present = s->record->version;

	if (incoming == present)
		return false;
	if (s->record->deleted)
		field_group_mark(s);
	if (incoming > present)
		ladder_write_whole(s, RESOLUTION_VERSION_WIN, incoming,
						   psprintf("version " INT64_FORMAT " is higher than the record's " INT64_FORMAT,
									incoming, present));
	else
		ladder_set_aside(s, 200, RESOLUTION_STALE_SKIP, true,
						 psprintf("version " INT64_FORMAT " is lower than the record's " INT64_FORMAT,
								  incoming, present));
	return true;
}

/* A record's version after a whole write that won a contest. */
static int64
contest_version(const LadderState *s)
{
	return has_rung(s, RUNG_VERSION) ? s->record->version : next_version(s->record);
}

/*
 * The time that a change has to beat: the record's or, where fields are foreign,
 * the latest at which one of these got its value.  Returns false if none is known.
 */
static bool
time_to_beat(const LadderState *s, TimestampTz *time)
{
	bool		known = false;

	*time = s->record->updated_at;
	if (s->nforeign == 0)
		return s->record->has_updated_at;
	for (int i = 0; i < s->nforeign; i++)
	{
		const Stamp *stamp = &s->foreign[i]->stamp;

		if (!stamp->has_updated_at || (known && stamp->updated_at <= *time))
			continue;
		*time = stamp->updated_at;
		known = true;
	}
	return known;
}

static bool
rung_latest(LadderState *s)
{
	const char *whose = s->nforeign > 0 ? "that of the contested fields" : "the record's";
	TimestampTz time;
	bool		known = time_to_beat(s, &time);

	if (known && s->change->updated_at == time)
		return false;
	if (!known || s->change->updated_at > time)
		ladder_write_whole(s, RESOLUTION_LATEST_WIN, contest_version(s),
						   psprintf("updatedAt is later than %s", whose));
	else
		ladder_set_aside(s, 200, RESOLUTION_LATEST_SKIP, true,
						 psprintf("updatedAt is earlier than %s", whose));
	return true;
}

/*
 * Of a change without a base, a field is contested if the record has another value that
 * a source has confirmed at the record's own version.
 */
static void
mark_contested(LadderState *s)
{
	for (int i = 0; !delete_involved(s) && i < s->change->fields.n; i++)
	{
		PatchField *match = &s->match[i];

		match->contested = match->current != NULL && match->differs && !match->implied &&
			!field_group_left_null(s, match) &&
			(!has_rung(s, RUNG_VERSION) || match->current->stamp.version == s->record->version);
	}
	field_group_mark(s);
}

static bool
rung_merge(LadderState *s)
{
	for (int i = 0; i < s->change->fields.n; i++)
		if (s->match[i].contested)
			return false;
	for (int i = 0; i < s->change->fields.n; i++)
		s->match[i].take = !field_group_leaves(&s->match[i]);
	ladder_write_merge(s, RESOLUTION_FIELD_MERGE,
					   "no field is contested: the fields of both sides stand");
	return true;
}

/* "score: max of 3 and 5", the record's value first. */
static void
append_rule(StringInfo text, const PatchField *match, const Field *sent)
{
	appendStringInfo(text, "%s: %s of %s and %s", field_name_cstring(sent->name),
					 field_rule_label(match->rule),
					 ladder_value_text(&match->current->field.value),
					 ladder_value_text(&sent->value));
}

/* "email: CRM (rank 1) before ERP (rank 2)". */
static void
append_rank(const LadderState *s, StringInfo text, const PatchField *match, FieldName name)
{
	const char *winner = match->take ? s->change->source : match->current->stamp.source;
	const char *loser = match->take ? match->current->stamp.source : s->change->source;

	appendStringInfo(text, "%s: %s (rank %s) before %s (rank %s)", field_name_cstring(name),
					 winner, ladder_rank_text(rank_of(s, winner, name)),
					 loser, ladder_rank_text(rank_of(s, loser, name)));
}

/* Does a field before it tell of its group? */
static bool
is_told_of(const LadderState *s, int field)
{
	for (int i = 0; s->match[field].group != NULL && i < field; i++)
		if (s->match[i].group == s->match[field].group)
			return true;
	return false;
}

/* How each contested field was decided. */
static char *
field_reason(const LadderState *s, const char *how)
{
	StringInfoData text;
	int			n = 0;

	initStringInfo(&text);
	appendStringInfoString(&text, how);
	for (int i = 0; i < s->change->fields.n; i++)
	{
		PatchField *match = &s->match[i];

		if (!match->contested || is_told_of(s, i) || n++ >= REASON_FIELDS)
			continue;
		appendStringInfoString(&text, n > 1 ? "; " : " ");
		if (match->group != NULL)
			field_group_append_reason(s, &text, match->group);
		else if (match->rule != NULL)
			append_rule(&text, match, &s->change->fields.field[i]);
		else
			append_rank(s, &text, match, s->change->fields.field[i].name);
	}
	if (n > REASON_FIELDS)
		appendStringInfo(&text, "; and %d more", n - REASON_FIELDS);
	return text.data;
}

/* Have the rule of a contested field decide; false if there is none, or it can't. */
static bool
apply_rule(LadderState *s, PatchField *match, const Field *sent, const FieldRule *rule)
{
	FieldVerdict verdict;

	if (rule->kind == FIELD_RULE_FUNCTION)
		verdict = s->rules->function(s->rules->function_arg, s->change, rule, match->current,
									 &sent->value, &match->combined, &match->failed);
	else
		verdict = field_rule_decide(rule->kind, match->current, &sent->value, s->change,
									&match->combined);
	if (verdict == FIELD_UNDECIDED)
		return false;
	match->rule = rule;
	match->take = verdict != FIELD_STANDS;
	return true;
}

static RulesOutcome
rung_rules(LadderState *s)
{
	RulesOutcome outcome = field_group_apply_rules(s);

	if (outcome == RULES_FORBID)
		return outcome;

	for (int i = 0; i < s->change->fields.n; i++)
	{
		const Field *sent = &s->change->fields.field[i];
		PatchField *match = &s->match[i];
		const FieldRule *rule;

		if (match->contested && match->group != NULL)
			continue;
		match->take = !field_group_leaves(match);
		if (!match->contested)
			continue;
		rule = field_rule_find(s->rules->field_rules, sent->name);
		if (rule != NULL && rule->kind == FIELD_RULE_MANUAL)
			return RULES_FORBID;
		if (rule == NULL || !apply_rule(s, match, sent, rule))
			outcome = RULES_LEFT_SOME;
	}
	if (outcome == RULES_DECIDED)
		ladder_write_merge(s, RESOLUTION_FIELD_RULE, field_reason(s, "by rule,"));
	return outcome;
}

/*
 * Each contested field or group that no rule decided goes to the better ranked source; a
 * tie decides nothing.
 */
static bool
rung_priority_by_field(LadderState *s)
{
	if (!field_group_apply_ranks(s))
		return false;
	for (int i = 0; i < s->change->fields.n; i++)
	{
		PatchField *match = &s->match[i];
		FieldName	name = s->change->fields.field[i].name;
		int64		ours;
		int64		theirs;

		if (!match->contested || match->rule != NULL || match->group != NULL)
			continue;
		ours = rank_of(s, s->change->source, name);
		theirs = rank_of(s, match->current->stamp.source, name);
		if (ours == theirs)
			return false;
		match->take = ours < theirs;
	}
	ladder_write_merge(s, RESOLUTION_PRIORITY_WIN, field_reason(s, "by priority,"));
	return true;
}

/*
 * merge, field rules and priority, where fields are what is contested.  Returns
 * false if they don't decide: the last rung does.
 */
static bool
rungs_by_field(LadderState *s)
{
	if (rung_merge(s))
		return true;
	switch (rung_rules(s))
	{
		case RULES_DECIDED:
			return true;
		case RULES_FORBID:
			return false;
		case RULES_LEFT_SOME:
			break;
	}
	return has_rung(s, RUNG_PRIORITY) && rung_priority_by_field(s);
}

/* The best rank on the record's side, where the whole record is contested. */
static int64
best_rank_of_record(const LadderState *s)
{
	const Record *record = s->record;
	int64		best = RANK_NONE;
	bool		any = false;

	if (record->deleted)
		return rank_of_record(s, record->last_source);
	for (int i = 0; i < s->nforeign; i++)
		best = Min(best, rank_of_record(s, s->foreign[i]->stamp.source));
	if (s->nforeign > 0)
		return best;
	for (int i = 0; i < record->nfields; i++)
	{
		if (record->fields[i].stamp.version != record->version)
			continue;
		best = Min(best, rank_of_record(s, record->fields[i].stamp.source));
		any = true;
	}
	return any ? best : rank_of_record(s, record->last_source);
}

static bool
rung_priority_whole(LadderState *s)
{
	int64		ours = rank_of_record(s, s->change->source);
	int64		theirs = best_rank_of_record(s);

	if (ours == theirs)
		return false;
	if (ours < theirs)
		ladder_write_whole(s, RESOLUTION_PRIORITY_WIN, contest_version(s),
						   psprintf("by priority, %s has rank %s, the record's side %s",
									s->change->source, ladder_rank_text(ours), ladder_rank_text(theirs)));
	else
		ladder_set_aside(s, 200, RESOLUTION_PRIORITY_WIN, true,
						 psprintf("by priority, the record's side has rank %s, %s only %s",
								  ladder_rank_text(theirs), s->change->source, ladder_rank_text(ours)));
	return true;
}

/* "no rung decided email, phone: …" */
static char *
manual_reason(const Decision *d)
{
	StringInfoData text;

	initStringInfo(&text);
	appendStringInfoString(&text, "no rung decided ");
	for (int i = 0; i < d->contested.n && i < REASON_FIELDS; i++)
		appendStringInfo(&text, "%s%s", i > 0 ? ", " : "",
						 field_name_cstring(d->contested.name[i]));
	if (d->contested.n > REASON_FIELDS)
		appendStringInfo(&text, " and %d more", d->contested.n - REASON_FIELDS);
	if (d->contested_all)
		appendStringInfoString(&text, "on the record as a whole");
	appendStringInfoString(&text, ": a reviewer has to, with sync_resolve");
	return text.data;
}

static void
rung_last(LadderState *s, bool by_field)
{
	Decision   *d = s->decision;

	if (has_rung(s, RUNG_OVERWRITE))
		ladder_write_whole(s, RESOLUTION_OVERWRITE, contest_version(s),
						   "no rung decided, and this ladder ends with overwrite");
	else if (has_rung(s, RUNG_KEEP))
		ladder_set_aside(s, 200, RESOLUTION_KEEP, true,
						 "no rung decided, and this ladder ends with keep");
	else
	{
		ladder_set_aside(s, 409, RESOLUTION_MANUAL, false, NULL);
		d->supersedes_own = true;
		d->contested_all = !by_field;
		field_names_init(&d->contested, s->change->fields.n);
		for (int i = 0; by_field && i < s->change->fields.n; i++)
			if (s->match[i].contested)
				field_names_add(&d->contested, s->change->fields.field[i].name);
		field_names_sort(&d->contested);
		d->reason = manual_reason(d);
	}
}

/* Say what became of groups, and which rules' functions could not decide, and why. */
static void
tell_more(LadderState *s)
{
	field_group_tell(s);
	for (int i = 0; i < s->change->fields.n; i++)
		if (s->match[i].failed != NULL)
			s->decision->reason = psprintf("%s; the rule of %s failed: %s", s->decision->reason,
										   field_name_cstring(s->change->fields.field[i].name),
										   s->match[i].failed);
}

/* Climb the rungs, the first of which that can decides. */
static void
climb(LadderState *s)
{
	bool		by_field = has_rung(s, RUNG_MERGE) && !delete_involved(s);

	if (s->change->has_base)
	{
		if (rung_base(s))
			return;
	}
	else
	{
		if (has_rung(s, RUNG_VERSION) && rung_version(s))
			return;
		mark_contested(s);
	}
	if (has_rung(s, RUNG_LATEST) && rung_latest(s))
		return;
	if (!s->says_new)
	{
		ladder_restamp(s, RESOLUTION_NO_CHANGE, "the record says all that already");
		return;
	}
	if (!(by_field ? rungs_by_field(s) : has_rung(s, RUNG_PRIORITY) && rung_priority_whole(s)))
		rung_last(s, by_field);
}

/* The rungs decide on the change's fields; of a change that only adds there are none. */
static void
decide_fields(LadderState *s)
{
	field_group_complete(s);
	state_match(s);
	if (change_only_adds(s->change))
	{
		ladder_set_aside(s, 200, RESOLUTION_NO_CHANGE, false, "nothing was added");
		return;
	}
	climb(s);
	tell_more(s);
}

/*
 * Decide one change.  record->exists is false where there is none.  Everything
 * in *decision is allocated in the current context or points into the change,
 * the record and the rules.
 */
void
ladder_decide(const Change *change, const Record *record, const LadderRules *rules,
			  Decision *decision)
{
	LadderState state = {.change = change, .record = record, .rules = rules, .decision = decision};
	LadderState *s = &state;
	Change		counted PG_USED_FOR_ASSERTS_ONLY;

	Assert(change_as_it_counts(change, &counted) == change);
	MemSet(decision, 0, sizeof(Decision));
	decision->after = *record;
	if (rung_if_match(s))
		return;
	if (record->exists)
		decide_fields(s);
	else
		ladder_write_new(s);
	if (change->increments.n > 0)
		ladder_add_increments(s);
}

void
ladder_impose(const Change *change, const Record *record, const LadderRules *rules,
			  const FieldNames *contested, Decision *decision)
{
	LadderState state = {.change = change, .record = record, .rules = rules, .decision = decision};
	LadderState *s = &state;

	MemSet(decision, 0, sizeof(Decision));
	decision->after = *record;
	/* what the reviewer lets in was not made on the tombstone that it met */
	s->foreign_tombstone = record->deleted;
	if (rules != NULL)
		field_group_complete(s);
	state_match(s);
	if (contested == NULL)
		field_group_mark(s);
	else
		field_group_mark_named(s, contested);
	ladder_write_whole(s, RESOLUTION_RESOLVED, next_version(record), "");
}
