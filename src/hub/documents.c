/*
 * documents.c
 *	  sync_apply and sync_explain: change documents in, answers out.
 *
 * Called from SQL, and by hub/push.  A call takes one document or an array of
 * them; in which order a batch is worked off is up to hub/document_order.
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "errcodes.h"
#include "hub/answer.h"
#include "hub/apply_call.h"
#include "hub/clock.h"
#include "hub/closing.h"
#include "hub/document_order.h"
#include "hub/documents.h"
#include "hub/limits.h"
#include "hub/redelivery.h"
#include "hub/visibility.h"
#include "model/clip.h"
#include "settings.h"
#include "storage/canonical.h"
#include "storage/hints.h"
#include "storage/link.h"

PG_FUNCTION_INFO_V1(sync_apply);
PG_FUNCTION_INFO_V1(sync_explain);

/* One document of a call. */
typedef struct Document
{
	int			position;		/* in the array that came in */
	int			depth;			/* of its entity among the references */
	bool		good;
	Change		change;
	ChangeError error;
	JsonbValue *answer;
	bool		refused;		/* it went beyond a limit */
} Document;

typedef struct Documents
{
	bool		batch;
	int			n;
	Document   *document;		/* in the order they came in */
	int			ngood;
	Document  **order;			/* the good ones, in the order of work */
	const Registry *registry;
	const char *only_source;	/* others' documents are refused; NULL: anybody's */
	const Source *may_act_as;	/* the one whose role the user was found to hold last */
	AnswerMaker make_answer;
	int			nclaims;
	Claim	   *claims;			/* of the good ones that bear a change id */
} Documents;

/* ---------- reading ---------- */

static bool
check_size(Size bytes, ChangeError *error)
{
	if (bytes <= (Size) setting_max_document * 1024)
		return true;
	return change_error(error, ERRCODE_SYNC_BAD_DOCUMENT,
						"Raise syncext.max_document, or send large values another way.",
						"the document has %zu bytes, more than %d kB", bytes, setting_max_document);
}

/* Nor does it come in here if a hub behind a link decides. */
static bool
check_links(Document *document)
{
	Change	   *change = &document->change;
	const Link *link = link_of_source(change->source);

	if (link != NULL)
		return change_error(&document->error, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
							LINK_SOURCE_HINT(link),
							LINK_SOURCE_MESSAGE, change->source, link->name);
	link = link_of_entity(change->entity);
	if (link != NULL)
		return change_error(&document->error, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
							LINK_ENTITY_HINT(link),
							LINK_ENTITY_MESSAGE, change->entity, link->name);
	return true;
}

/*
 * Raise if the user may not act as the source; then nothing is done of the whole
 * batch.  Comes before anything that tells of names, ladders or links.
 */
static void
check_right(Documents *docs, const Source *source, const char *name)
{
	if (source == NULL)
		registry_check_stranger(docs->registry, name);
	else if (source != docs->may_act_as)
		source_role_check(source);
	docs->may_act_as = source;
}

/* Names must be registered, and the document fit the entity's ladder. */
static bool
check_names(Documents *docs, Document *document)
{
	const Registry *registry = docs->registry;
	Change	   *change = &document->change;
	const Source *source = registry_source(registry, change->source);
	const Entity *entity = registry_entity(registry, change->entity);

	check_right(docs, source, change->source);
	if (source == NULL)
		return change_error(&document->error, ERRCODE_SYNC_UNKNOWN_NAME,
							call_text("Add it with SELECT sync_add_source(%s).",
									 quote_literal_cstr(clip_string(change->source, CLIP_QUOTE))),
							"key \"source\" names \"%s\", which is not a source",
							clip_string(change->source, CLIP_QUOTE));
	if (entity == NULL)
		return change_error(&document->error, ERRCODE_SYNC_UNKNOWN_NAME,
							call_text("Add it with SELECT sync_add_entity(%s).",
									 quote_literal_cstr(clip_string(change->entity, CLIP_QUOTE))),
							"key \"entity\" names \"%s\", which is not an entity",
							clip_string(change->entity, CLIP_QUOTE));
	if (docs->only_source != NULL && strcmp(source->name, docs->only_source) != 0)
		return change_error(&document->error, ERRCODE_SYNC_BAD_DOCUMENT, NULL,
							"key \"source\" names \"%s\", but \"%s\" sends it", source->name,
							docs->only_source);
	change->source = source->name;
	change->entity = entity->name;
	/* an edit of a row to which a spoke's link has delivered nothing yet */
	if (change->from_link && change->not_created && change->has_base)
		change->origin = ORIGIN_EDIT;
	document->depth = entity->depth;
	return (link_list() == NIL || check_links(document)) &&
		ladder_check_change(entity->ladder, change, &document->error) &&
		dependency_check(entity, change, &document->error);
}

static void
read_document(Documents *docs, JsonbContainer *container, Size bytes, Document *document)
{
	/* only a link sends what others have made, and says more of its edits */
	ChangeLimits limits = {.max_fields = setting_max_fields, .own = docs->only_source != NULL};

	document->good = check_size(bytes, &document->error) &&
		limits_depth(container, bytes, &document->error) &&
		change_parse(container, &limits, &document->change, &document->error) &&
		check_names(docs, document);
	if (!document->good && !docs->batch)
		change_raise(&document->error);
}

/* An element of a batch that isn't an object has no container to parse. */
static void
read_element(Documents *docs, JsonbValue *element, Document *document)
{
	if (element->type == jbvBinary)
		read_document(docs, element->val.binary.data, element->val.binary.len, document);
	else
		document->good = change_not_object(&document->error);
}

static void
read_batch(Documents *docs, JsonbContainer *array)
{
	JsonbIterator *it = JsonbIteratorInit(array);
	JsonbIteratorToken token;
	JsonbValue	v;
	int			n = JsonContainerSize(array);

	if (n > setting_max_batch)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("the batch has %d documents, more than %d", n, setting_max_batch),
				 errhint("Raise syncext.max_batch, or send smaller batches.")));
	docs->batch = true;
	docs->document = palloc0(sizeof(Document) * Max(n, 1));
	while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
	{
		if (token == WJB_ELEM)
		{
			docs->document[docs->n].position = docs->n;
			read_element(docs, &v, &docs->document[docs->n++]);
		}
	}
}

/* The order of work: parents before children, then by key, then as they came. */
static int
compare_documents(const void *a, const void *b)
{
	const Document *da = *(Document *const *) a;
	const Document *db = *(Document *const *) b;
	int			cmp;

	if (da->depth != db->depth)
		return da->depth < db->depth ? -1 : 1;
	if ((cmp = strcmp(da->change.entity, db->change.entity)) != 0)
		return cmp;
	if ((cmp = strcmp(da->change.external_id, db->change.external_id)) != 0)
		return cmp;
	return da->position < db->position ? -1 : 1;
}

static void
read_documents(Documents *docs, Jsonb *input)
{
	docs->registry = registry_get();
	if (JB_ROOT_IS_ARRAY(input) && !JB_ROOT_IS_SCALAR(input))
		read_batch(docs, &input->root);
	else
	{
		docs->n = 1;
		docs->document = palloc0(sizeof(Document));
		read_document(docs, &input->root, VARSIZE(input) - VARHDRSZ, docs->document);
	}
	docs->order = palloc(sizeof(Document *) * Max(docs->n, 1));
	for (int i = 0; i < docs->n; i++)
	{
		if (docs->document[i].good)
			docs->order[docs->ngood++] = &docs->document[i];
		else
			docs->document[i].answer = answer_refused(&docs->document[i].error);
	}
	qsort(docs->order, docs->ngood, sizeof(Document *), compare_documents);
}

static Jsonb *
documents_answer(const Documents *docs)
{
	JsonbValue **answers;

	if (!docs->batch)
		return JsonbValueToJsonb(docs->document[0].answer);
	answers = palloc(sizeof(JsonbValue *) * Max(docs->n, 1));
	for (int i = 0; i < docs->n; i++)
		answers[i] = docs->document[i].answer;
	return answer_array(answers, docs->n);
}

/* ---------- sent again ---------- */

/* Answer what a claim has settled; what is left of the batch is still to be done. */
static void
settle_document(Documents *docs, const Claim *claim)
{
	Document   *document = &docs->document[claim->position];

	switch (claim->outcome)
	{
		case CLAIM_NEW:
			return;
		case CLAIM_ANSWERED:
			document->answer = claim->answer;
			break;
		case CLAIM_REPEATED:
			break;				/* when the first one is answered */
		case CLAIM_REFUSED:
			if (!docs->batch)
				change_raise(&claim->error);
			document->answer = answer_refused(&claim->error);
			break;
	}
	document->good = false;
}

/* Leave out what was answered before, or will be with another document. */
static void
claim_ids(Documents *docs, bool write)
{
	int			kept = 0;

	for (int i = 0; i < docs->ngood; i++)
		docs->nclaims += docs->order[i]->change.change_id != NULL;
	if (docs->nclaims == 0)
		return;
	docs->claims = palloc0(sizeof(Claim) * docs->nclaims);
	for (int i = 0, n = 0; i < docs->ngood; i++)
	{
		if (docs->order[i]->change.change_id == NULL)
			continue;
		docs->claims[n].change = &docs->order[i]->change;
		docs->claims[n++].position = docs->order[i]->position;
	}
	redelivery_claim(docs->claims, docs->nclaims, write);
	for (int i = 0; i < docs->nclaims; i++)
		settle_document(docs, &docs->claims[i]);
	for (int i = 0; i < docs->ngood; i++)
		if (docs->order[i]->good)
			docs->order[kept++] = docs->order[i];
	docs->ngood = kept;
}

static JsonbValue *
answer_of_claim(void *arg, int position)
{
	const Document *document = &((Documents *) arg)->document[position];

	return document->refused ? NULL : document->answer;
}

/* The work is done: answer what came twice in the call. */
static void
settle_claims(Documents *docs, bool write)
{
	if (docs->nclaims == 0)
		return;
	if (write)
		redelivery_keep(docs->claims, docs->nclaims, answer_of_claim, docs);
	for (int i = 0; i < docs->nclaims; i++)
	{
		const Claim *claim = &docs->claims[i];

		if (claim->outcome == CLAIM_REPEATED)
			docs->document[claim->position].answer =
				docs->document[claim->first->position].answer;
	}
}

/* ---------- applying ---------- */

/* Documents being applied. */
typedef struct Applying
{
	Documents  *docs;
	ApplyCall  *call;
	MemoryContext item;			/* reset after each of them */
} Applying;

static bool
apply_hold_record(void *arg, const Change *change)
{
	Applying   *applying = arg;
	MemoryContext outer = MemoryContextSwitchTo(applying->item);
	bool		held = apply_hold(applying->call, change);

	MemoryContextSwitchTo(outer);
	MemoryContextReset(applying->item);
	return held;
}

/* What goes beyond a limit is refused as a bad document is. */
static JsonbValue *
refuse(const Documents *docs, Answer *answer)
{
	if (!docs->batch)
		change_raise(&answer->error);
	answer->error.message = pstrdup(answer->error.message);
	return answer_refused(&answer->error);
}

static void
apply_some(void *arg, int first, int n)
{
	Applying   *applying = arg;
	Documents  *docs = applying->docs;
	MemoryContext outer = CurrentMemoryContext;

	for (int i = first; i < first + n; i++)
	{
		Document   *document = docs->order[i];
		Answer		answer;

		MemoryContextSwitchTo(applying->item);
		apply_document(applying->call, &document->change, &answer);
		MemoryContextSwitchTo(outer);
		document->refused = answer.refused && !answer.hidden;
		/* an answer that is kept has to serve whoever asks next */
		document->answer = document->refused ? refuse(docs, &answer) :
			document->change.change_id != NULL ? answer_make(&answer) :
			docs->make_answer(&answer);
		MemoryContextReset(applying->item);
	}
}

static const Change **
changes_in_order(const Documents *docs)
{
	const Change **changes = palloc(sizeof(Change *) * docs->ngood);

	for (int i = 0; i < docs->ngood; i++)
		changes[i] = &docs->order[i]->change;
	return changes;
}

static void
apply_documents(Documents *docs)
{
	Applying	applying = {
		.docs = docs,
		.call = apply_begin(docs->registry),
		.item = AllocSetContextCreate(CurrentMemoryContext, "syncext change",
									  ALLOCSET_DEFAULT_SIZES)
	};
	DocumentOrder order = {
		.registry = docs->registry,
		.dependency = apply_dependency(applying.call),
		.hold = apply_hold_record,
		.work = apply_some,
		.arg = &applying
	};

	document_order_run(&order, changes_in_order(docs), docs->ngood);
	apply_end(applying.call);
	MemoryContextDelete(applying.item);
}

static void
take_documents(Documents *docs)
{
	claim_ids(docs, true);
	if (docs->ngood > 0)
		apply_documents(docs);
	settle_claims(docs, true);
}

static Jsonb *
documents_argument(FunctionCallInfo fcinfo)
{
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("the change document must not be null"),
				 errhint("Send a change document, or an array of them.")));
	return PG_GETARG_JSONB_P(0);
}

Datum
sync_apply(PG_FUNCTION_ARGS)
{
	Documents	docs = {.make_answer = answer_make};

	read_documents(&docs, documents_argument(fcinfo));
	take_documents(&docs);
	PG_RETURN_JSONB_P(documents_answer(&docs));
}

int
documents_apply(Jsonb *changes, const char *source, AnswerMaker make_answer,
				JsonbValue ***answers)
{
	Documents	docs = {.only_source = source, .make_answer = make_answer};

	read_documents(&docs, changes);
	take_documents(&docs);
	*answers = palloc(sizeof(JsonbValue *) * Max(docs.n, 1));
	for (int i = 0; i < docs.n; i++)
		(*answers)[i] = docs.document[i].answer;
	return docs.n;
}

/* ---------- explaining ---------- */

/* Documents being explained. */
typedef struct Explaining
{
	Documents  *docs;
	Canonical  *canonical;
	ConflictLog *conflicts;
	Dependency *dependency;
} Explaining;

/* Decide a change, and find what apply_document would refuse. */
static void
explain_decide(Explaining *explaining, const Change *sent, const Record *record,
			   Answer *answer)
{
	Decision   *d = &answer->decision;
	Change		bounded;
	const Change *change = clock_bound(sent, &bounded);
	RecordKey	parent;
	char	   *reason;

	if (!ladder_precondition_fails(change, record) &&
		dependency_must_wait(explaining->dependency, change, &parent, &reason))
	{
		answer->refused = !dependency_has_room(explaining->dependency, change, &parent,
											   &answer->error);
		dependency_answer(record, reason, d);
	}
	else
	{
		apply_decide(explaining->docs->registry, change, record, d);
		if (!dependency_restricts(explaining->dependency, change, record, d))
			answer->refused = !apply_within_limits(explaining->conflicts, change, record, d,
												   &answer->error);
	}
	clock_tell(sent, change, d);
}

/* Or guesses would find out what a source doesn't get to see. */
static void
explain_check_rights(const Documents *docs)
{
	List	   *sources = NIL;

	for (int i = 0; i < docs->ngood; i++)
	{
		const Change *change = &docs->order[i]->change;

		if (i == 0 || docs->order[i - 1]->change.entity != change->entity)
			sources = visibility_sources(docs->registry, change->entity);
		visibility_check_fields(sources, change);
	}
}

/* Nothing is held: explaining changes nothing. */
static bool
explain_hold(void *arg, const Change *change)
{
	Explaining *explaining = arg;
	Record		record;

	canonical_find(explaining->canonical, change->entity, change->external_id, &record);
	return record.exists;
}

/*
 * Decide the changes of one record as apply_some would, but write nothing: the
 * record that one would leave is what the next is decided against.
 */
static void
explain_some(void *arg, int first, int n)
{
	Explaining *explaining = arg;
	Documents  *docs = explaining->docs;
	Record		record = {0};

	for (int i = first; i < first + n; i++)
	{
		Document   *document = docs->order[i];
		Change		counted;
		const Change *change = change_as_it_counts(&document->change, &counted);
		Answer		answer = {.change = change};

		CHECK_FOR_INTERRUPTS();
		if (i == first)
			canonical_find(explaining->canonical, change->entity, change->external_id, &record);
		answer.hidden = !visibility_answers(docs->registry, &document->change, &record,
											explaining->canonical);
		explain_decide(explaining, change, &record, &answer);
		if (answer.decision.write != WRITE_NOTHING && !answer.refused)
			dependency_suppose(explaining->dependency, &document->change,
							   &answer.decision.after);
		if (answer.decision.resolution == RESOLUTION_MANUAL)
			answer.conflict_id = closing_find_same(explaining->conflicts, change, &record);
		document->answer = answer.refused && !answer.hidden ? refuse(docs, &answer) :
			answer_make(&answer);
		if (!answer.refused)
			record = answer.decision.after;
	}
}

static void
explain_documents(Documents *docs)
{
	Explaining	explaining = {
		.docs = docs,
		.canonical = canonical_open(false),
		.conflicts = conflict_log_open(false),
		.dependency = dependency_begin(docs->registry, false)
	};
	DocumentOrder order = {
		.registry = docs->registry,
		.dependency = explaining.dependency,
		.hold = explain_hold,
		.work = explain_some,
		.arg = &explaining
	};

	document_order_run(&order, changes_in_order(docs), docs->ngood);
	dependency_end(explaining.dependency);
	conflict_log_close(explaining.conflicts);
	canonical_close(explaining.canonical);
}

Datum
sync_explain(PG_FUNCTION_ARGS)
{
	Documents	docs = {0};

	read_documents(&docs, documents_argument(fcinfo));
	explain_check_rights(&docs);
	claim_ids(&docs, false);
	if (docs.ngood > 0)
		explain_documents(&docs);
	settle_claims(&docs, false);
	PG_RETURN_JSONB_P(documents_answer(&docs));
}
