/*
 * apply.c
 *	  sync_apply and sync_explain: change documents in, answers out.
 *
 * A call takes one document or an array of them; in which order a batch is worked off
 * is up to hub/document_order.
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "errcodes.h"
#include "hub/answer.h"
#include "hub/apply.h"
#include "hub/apply_call.h"
#include "hub/apply_state.h"
#include "hub/by_alias.h"
#include "hub/conflict.h"
#include "hub/counting.h"
#include "hub/document_order.h"
#include "hub/documents.h"
#include "hub/http.h"
#include "hub/own_keys.h"
#include "hub/redelivery.h"
#include "hub/release.h"
#include "hub/visibility.h"
#include "process/subxact.h"
#include "storage/canonical.h"
#include "storage/link.h"
#include "storage/rows.h"

PG_FUNCTION_INFO_V1(sync_apply);
PG_FUNCTION_INFO_V1(sync_explain);

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

/* ---------- callers that speak HTTP ---------- */

/* The request's If-Match stands for the document's key ifMatch. */
static void
heed_if_match(Documents *docs)
{
	Change	   *change = &docs->document[0].change;
	int64		row_version;

	if (!http_if_match(&row_version))
		return;
	if (docs->batch)
		ereport(ERROR,
				(errcode(ERRCODE_SYNC_BAD_DOCUMENT),
				 errmsg("If-Match is sent with a batch"),
				 errhint("Give each document its key \"ifMatch\".")));
	if (change->has_if_match && change->if_match != row_version)
		ereport(ERROR,
				(errcode(ERRCODE_SYNC_BAD_DOCUMENT),
				 errmsg("If-Match and key \"ifMatch\" name two row versions"),
				 errhint("Send one of the two.")));
	change->has_if_match = true;
	change->if_match = row_version;
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

static void
leave_out_settled(Documents *docs)
{
	int			kept = 0;

	for (int i = 0; i < docs->ngood; i++)
		if (docs->order[i]->good)
			docs->order[kept++] = docs->order[i];
	docs->ngood = kept;
}

/* Leave out what was answered before, or will be with another document. */
static void
claim_ids(Documents *docs, bool write)
{
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
	leave_out_settled(docs);
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

/* ---------- keys of sources ---------- */

/* Answer what names no record to be worked on. */
static void
settle_keyed(Documents *docs, const KeyedChange *keyed)
{
	Document   *document = &docs->document[keyed->position];

	document->keyed = keyed;
	if (keyed->outcome == KEY_RESOLVED)
		return;
	if (keyed->outcome == KEY_REFUSED && !docs->batch)
		change_raise(&keyed->error);
	document->refused = keyed->outcome == KEY_REFUSED;
	document->answer = document->refused ? answer_refused(&keyed->error) :
		answer_make(&keyed->answer, CurrentMemoryContext);
	document->good = false;
}

/* Find the records that sources name by keys of their own. */
static void
resolve_keys(Documents *docs, bool write)
{
	for (int i = 0; i < docs->ngood; i++)
		docs->nkeyed += docs->order[i]->own_keys;
	if (docs->nkeyed == 0)
		return;
	docs->keyed = palloc0(sizeof(KeyedChange) * docs->nkeyed);
	for (int i = 0, n = 0; i < docs->ngood; i++)
	{
		if (!docs->order[i]->own_keys)
			continue;
		docs->keyed[n].change = &docs->order[i]->change;
		docs->keyed[n++].position = docs->order[i]->position;
	}
	own_keys_resolve(docs->keyed, docs->nkeyed, write);
	for (int i = 0; i < docs->nkeyed; i++)
		settle_keyed(docs, &docs->keyed[i]);
	leave_out_settled(docs);
}

/* ---------- applying ---------- */

/* Documents being applied, or explained. */
typedef struct Applying
{
	Documents  *docs;
	ApplyCall  *call;
	MemoryContext item;			/* reset after each of them */
	int			ahead;			/* the records of those before were looked at ahead */
	bool		far;			/* they are far from one another: reading them ahead gains nothing */
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

/* Read the records of the next documents, from the one numbered first on, and their conflicts. */
static void
look_ahead(Applying *applying, int first)
{
	const Documents *docs = applying->docs;
	RecordKey	records[CANONICAL_AHEAD];
	MemoryContext outer = MemoryContextSwitchTo(applying->item);
	int			n = 0;
	int			i;

	for (i = first; i < docs->ngood && n < CANONICAL_AHEAD; i++)
	{
		const Change *change = &docs->order[i]->change;

		if (n > 0 && strcmp(records[n - 1].external_id, change->external_id) == 0 &&
			strcmp(records[n - 1].entity, change->entity) == 0)
			continue;
		records[n].entity = change->entity;
		records[n++].external_id = change->external_id;
	}
	applying->ahead = i;
	/* of few there is nothing to be gained */
	if (n >= CANONICAL_AHEAD_MIN)
	{
		apply_look_for_conflicts(applying->call, n, records);
		applying->far = applying->far ||
			!canonical_look_ahead(applying->call->canonical, n, records, NULL, NULL);
	}
	MemoryContextSwitchTo(outer);
	MemoryContextReset(applying->item);
}

/* What a spoke's table has added comes as totals: they are known once the change is decided. */
static void
apply_counted(Applying *applying, Change *change, Answer *answer)
{
	const FieldRules *rules = &registry_entity_required(applying->call->registry, change->entity)->field_rules;
	Counts		known;

	MemSet(answer, 0, sizeof(Answer));
	answer->change = change;
	answer->refused = !counting_take(rules, change, &known, &answer->error);
	if (answer->refused)
		return;
	apply_document(applying->call, change, answer);
	if (!answer->refused && !answer->unheard)
		counting_keep(change, &known);
}

static JsonbValue *
make_answer_of(const Documents *docs, const Document *document, Answer *answer, MemoryContext context)
{
	MemoryContext old;
	JsonbValue *made;

	/* an answer that is kept is given to every sender of the same change id */
	if (!document->refused && document->change.change_id != NULL)
		return answer_make(answer, context);
	if (!document->refused)
		return docs->make_answer(answer, context);
	old = MemoryContextSwitchTo(context);
	made = refuse(docs, answer);
	MemoryContextSwitchTo(old);
	return made;
}

static void
apply_some(void *arg, int first, int n)
{
	Applying   *applying = arg;
	Documents  *docs = applying->docs;
	MemoryContext outer = CurrentMemoryContext;

	if (first >= applying->ahead)
		look_ahead(applying, first);
	for (int i = first; i < first + n; i++)
	{
		Document   *document = docs->order[i];
		Answer		answer;

		MemoryContextSwitchTo(applying->item);
		if (document->change.counted != NULL)
			apply_counted(applying, &document->change, &answer);
		else
			apply_document(applying->call, &document->change, &answer);
		if (document->keyed != NULL && own_keys_settle(document->keyed, &answer))
			apply_note_key(applying->call, &document->change);
		document->refused = answer.refused && !answer.hidden;
		document->answer = make_answer_of(docs, document, &answer, outer);
		MemoryContextSwitchTo(outer);
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

/* What a change of a few fields takes, which is kept from one to the next. */
#define ITEM_BYTES		(32 * 1024)

static void
run_documents(Documents *docs, DocumentOrder *order, ApplyCall *call)
{
	Applying	applying = {
		.docs = docs,
		.call = call,
		.item = AllocSetContextCreate(CurrentMemoryContext, "syncext change", 0,
									  docs->batch ? ITEM_BYTES : ALLOCSET_DEFAULT_INITSIZE,
									  ALLOCSET_DEFAULT_MAXSIZE)
	};

	order->registry = call->registry;
	order->references = call->references;
	order->arg = &applying;
	document_order_run(order, changes_in_order(docs), docs->ngood);
	MemoryContextDelete(applying.item);
}

static void
apply_documents(Documents *docs)
{
	DocumentOrder order = {.hold = apply_hold_record, .work = apply_some};
	ApplyCall  *call = apply_begin(docs->registry);

	run_documents(docs, &order, call);
	apply_end(call);
}

static void
take_documents(Documents *docs)
{
	claim_ids(docs, true);
	resolve_keys(docs, true);
	documents_sort(docs);
	if (docs->ngood > 0)
		apply_documents(docs);
	own_keys_note_conflicts(docs->keyed, docs->nkeyed);
	settle_claims(docs, true);
}

/* ---------- what fails alone ---------- */

/* Documents of a batch, to be tried in a subtransaction. */
typedef struct Try
{
	Documents  *all;
	Document  **some;			/* of all */
	int			n;
	bool		as_read;		/* they are all, and were not tried before */
	MemoryContext context;		/* of what is read and answered */
} Try;

/*
 * What an administrator's deferred triggers on our tables raise is about one document,
 * too, not about the commit.
 */
static void
fire_deferred(void)
{
	AfterTriggerSetState(makeNode(ConstraintsSetStmt));
}

static void
try_documents(void *arg)
{
	Try		   *t = arg;
	MemoryContext outer = MemoryContextSwitchTo(t->context);
	Documents  *docs = t->as_read ? t->all : documents_read_again(t->all, t->some, t->n);
	uint64		triggers = rows_brackets();

	t->as_read = false;
	take_documents(docs);
	if (docs->only_source != NULL && triggers != rows_brackets())
		fire_deferred();
	for (int i = 0; docs != t->all && i < t->n; i++)
		t->some[i]->answer = docs->document[i].answer;
	MemoryContextSwitchTo(outer);
}

/* Did another transaction have something in use?  Tried again it may go through. */
static bool
is_busy(const ErrorData *error)
{
	return (error->sqlerrcode == ERRCODE_T_R_DEADLOCK_DETECTED ||
			error->sqlerrcode == ERRCODE_T_R_SERIALIZATION_FAILURE) && !IsolationUsesXactSnapshot();
}

#define MAX_TRIES	3

static ErrorData *
try_some_times(Try *t)
{
	ErrorData  *error = subxact_try(try_documents, t);

	for (int tries = 1; tries < MAX_TRIES && error != NULL && is_busy(error); tries++)
	{
		FreeErrorData(error);
		error = subxact_try(try_documents, t);
	}
	return error;
}

/* Is the error about more than those n documents?  With too little memory half may go. */
static bool
is_about_all(const ErrorData *error, int n)
{
	return subxact_error_passes(error->sqlerrcode) &&
		(error->sqlerrcode != ERRCODE_OUT_OF_MEMORY || n == 1);
}

/*
 * The first block for a batch, of which only what is used takes memory.  It is larger than what
 * a batch takes, for the sake of all that: glibc's free() leaves the process twice
 * the largest block that was ever freed, and gives the rest back to the system, which would have to
 * clear the pages for each batch anew. That was a tenth of a batch's time.
 */
#define DOCUMENT_BYTES	(8 * 1024)

static Size
first_block(int n)
{
	return Max(Min((Size) n * DOCUMENT_BYTES, ALLOCSET_DEFAULT_MAXSIZE), ALLOCSET_DEFAULT_INITSIZE);
}

static void
take_in_halves(Documents *all, Document **some, int n, bool as_read)
{
	Try			t = {
		.all = all,
		.some = some,
		.n = n,
		.as_read = as_read,
		.context = AllocSetContextCreate(CurrentMemoryContext, "syncext documents", 0,
										 first_block(n), ALLOCSET_DEFAULT_MAXSIZE)
	};
	ErrorData  *error = try_some_times(&t);

	if (error == NULL)
		return;
	if (is_about_all(error, n))
		ReThrowError(error);
	if (as_read)
	{
		/* raise what is wrong with the tables: that is no document's fault */
		apply_end(apply_begin(registry_get()));
		documents_sort_for_halves(some, n);
	}
	MemoryContextDelete(t.context);
	if (n == 1)
	{
		some[0]->answer = answer_failed(error);
		return;
	}
	FreeErrorData(error);
	take_in_halves(all, some, n / 2, false);
	take_in_halves(all, some + n / 2, n - n / 2, false);
}

/*
 * Take the documents of a batch, each of which fails alone: all of them in one
 * subtransaction, or where that fails in halves.
 */
static void
take_batch(Documents *docs)
{
	int			n = docs->ngood;
	Document  **good = palloc(sizeof(Document *) * Max(n, 1));

	/* while they are tried they are sorted, and those that are settled left out */
	memcpy(good, docs->order, sizeof(Document *) * n);
	if (n > 0)
		take_in_halves(docs, good, n, true);
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

static Jsonb *
apply_argument(Jsonb *changes, bool is_requested)
{
	Documents	docs = {.make_answer = answer_make};
	Jsonb	   *answer;

	documents_read(&docs, changes);
	if (is_requested)
		heed_if_match(&docs);
	if (docs.batch)
		take_batch(&docs);
	else
		take_documents(&docs);
	answer = documents_answer(&docs);
	if (is_requested)
		http_set_status(answer);
	return answer;
}

/*
 * A trigger on our tables may call it, too, within the call or at commit, about other
 * records than the request that set the trigger off.
 */
Datum
sync_apply(PG_FUNCTION_ARGS)
{
	static int	depth = 0;		/* calls that go on */
	Jsonb	   *answer;

	depth++;
	PG_TRY();
	{
		answer = apply_argument(documents_argument(fcinfo),
								depth == 1 && http_is_requested());
	}
	PG_FINALLY();
	{
		depth--;
	}
	PG_END_TRY();
	PG_RETURN_JSONB_P(answer);
}

int
documents_apply(Jsonb *changes, const char *source, const int64 *lost_epoch,
				AnswerMaker make_answer, JsonbValue ***answers)
{
	Documents	docs = {
		.only_source = source,
		.lost_epoch = lost_epoch,
		.make_answer = make_answer
	};

	documents_read(&docs, changes);
	take_batch(&docs);
	*answers = palloc(sizeof(JsonbValue *) * Max(docs.n, 1));
	for (int i = 0; i < docs.n; i++)
		(*answers)[i] = docs.document[i].answer;
	return docs.n;
}

/* ---------- explaining ---------- */

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
	return canonical_exists(((Applying *) arg)->call->canonical, change->entity, change->external_id);
}

/* What the pending conflicts of the record say to the decision. */
static void
explain_review(ApplyCall *call, const Counted *counted, const Record *record, Answer *answer)
{
	ConflictReview review;

	if (answer->refused || answer->decision.resolution != RESOLUTION_MANUAL)
		return;
	answer->refused = !conflict_review(call->conflicts, counted->item.change, record,
									   &answer->decision, &review, &answer->error);
	answer->conflict_id = review.same;
}

/* A record that would be made gets an id then, not now. */
static const Answer *
as_answered(const Document *document, Answer *answer)
{
	Change	   *unnamed;

	if (document->keyed == NULL || !document->keyed->supposed)
		return answer;
	unnamed = palloc(sizeof(Change));
	*unnamed = document->change;
	unnamed->external_id = "";
	answer->change = unnamed;
	return answer;
}

/*
 * Decide the changes of one record as apply_some would, but write nothing: the
 * record that one would leave is what the next is decided against.
 */
static void
explain_some(void *arg, int first, int n)
{
	Documents  *docs = ((Applying *) arg)->docs;
	ApplyCall  *call = ((Applying *) arg)->call;
	Record		record = {0};
	Change		renamed = {0};

	for (int i = first; i < first + n; i++)
	{
		Document   *document = docs->order[i];
		ApplyItem	sent = apply_item(call->registry, &document->change);
		Answer		answer = {.change = &document->change};
		Counted		counted;

		CHECK_FOR_INTERRUPTS();
		if (i == first)
			canonical_find(call->canonical, sent.change->entity, sent.change->external_id, &record);
		if ((!record.exists || record.deleted || renamed.alias != NULL) &&
			by_alias_follow(call, sent.change, &renamed))
		{
			sent.change = answer.change = &renamed;
			if (i == first)
				canonical_find(call->canonical, renamed.entity, renamed.external_id, &record);
		}
		answer.hidden = !visibility_answers(&sent, &record, call->canonical);
		apply_decide_fully(call, &sent, &record, false, &counted, &answer);
		explain_review(call, &counted, &record, &answer);
		document->answer = answer.refused && !answer.hidden ? refuse(docs, &answer) :
			answer_make(as_answered(document, &answer), CurrentMemoryContext);
		if (answer.refused)
			continue;
		if (answer.decision.write != WRITE_NOTHING)
			references_suppose(call->references, &sent, &answer.decision.after);
		record = answer.decision.after;
	}
}

static void
explain_documents(Documents *docs)
{
	DocumentOrder order = {.hold = explain_hold, .work = explain_some};
	ApplyCall  *call = apply_begin_explaining(docs->registry);

	run_documents(docs, &order, call);
	apply_end(call);
}

Datum
sync_explain(PG_FUNCTION_ARGS)
{
	Documents	docs = {0};

	documents_read(&docs, documents_argument(fcinfo));
	documents_sort(&docs);
	explain_check_rights(&docs);
	claim_ids(&docs, false);
	resolve_keys(&docs, false);
	documents_sort(&docs);
	if (docs.ngood > 0)
		explain_documents(&docs);
	settle_claims(&docs, false);
	PG_RETURN_JSONB_P(documents_answer(&docs));
}
