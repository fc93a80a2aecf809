/*
 * redelivery.c
 *	  Changes that are sent again, known by their change ids.
 *
 * For documents with key "changeId".  A sender that has lost an answer sends the change
 * again, and can't tell whether the first one came.  By then others may have edited the
 * record, and the change would be decided as a new one.  So the answer is kept with the
 * change's id, and given again; nothing else is done.
 */
#include "postgres.h"

#include "common/cryptohash.h"
#include "miscadmin.h"
#include "utils/numeric.h"

#include "hub/redelivery.h"

/* ---------- what a document says ---------- */

static void
digest_bytes(pg_cryptohash_ctx *context, const void *bytes, int len)
{
	if (pg_cryptohash_update(context, bytes, len) < 0)
		elog(ERROR, "could not compute the digest of a change document");
}

/* The length goes first, so that no two sequences of values give the same bytes. */
static void
digest_string(pg_cryptohash_ctx *context, const char *string, int len)
{
	digest_bytes(context, &len, sizeof(len));
	digest_bytes(context, string, len);
}

/* Numbers that are equal as jsonb are the same, however they are written. */
static void
digest_scalar(pg_cryptohash_ctx *context, const JsonbValue *value)
{
	uint8		type = value->type;
	uint8		boolean;
	char	   *number;

	digest_bytes(context, &type, 1);
	switch (value->type)
	{
		case jbvString:
			digest_string(context, value->val.string.val, value->val.string.len);
			break;
		case jbvNumeric:
			number = numeric_normalize(value->val.numeric);
			digest_string(context, number, strlen(number));
			break;
		case jbvBool:
			boolean = value->val.boolean;
			digest_bytes(context, &boolean, 1);
			break;
		default:
			break;
	}
}

/* Of the document as it was sent: claims come before records are found by sourceId. */
static ChangeDigest
change_digest(const Change *change)
{
	pg_cryptohash_ctx *context = pg_cryptohash_create(PG_SHA256);
	JsonbIterator *it = JsonbIteratorInit(&change_document(change)->root);
	JsonbIteratorToken token;
	JsonbValue	value;
	ChangeDigest digest;

	if (context == NULL || pg_cryptohash_init(context) < 0)
		elog(ERROR, "could not compute the digest of a change document");
	while ((token = JsonbIteratorNext(&it, &value, false)) != WJB_DONE)
	{
		uint8		kind = token;

		digest_bytes(context, &kind, 1);
		if (token == WJB_KEY || token == WJB_VALUE || token == WJB_ELEM)
			digest_scalar(context, &value);
	}
	if (pg_cryptohash_final(context, digest.bytes, sizeof(digest.bytes)) < 0)
		elog(ERROR, "could not compute the digest of a change document");
	pg_cryptohash_free(context);
	return digest;
}

/* ---------- claims ---------- */

static int
compare_ids(const Claim *a, const Claim *b)
{
	int			cmp = strcmp(a->change->source, b->change->source);

	return cmp != 0 ? cmp : strcmp(a->change->change_id, b->change->change_id);
}

/* The order of claiming: of two calls with the same ids one waits for the other. */
static int
compare_claims(const void *a, const void *b)
{
	const Claim *ca = a;
	const Claim *cb = b;
	int			cmp = compare_ids(ca, cb);

	if (cmp != 0)
		return cmp;
	return ca->position < cb->position ? -1 : 1;
}

static void
refuse_other_document(Claim *claim)
{
	claim->outcome = CLAIM_REFUSED;
	(void) change_error(&claim->error, ERRCODE_INVALID_PARAMETER_VALUE,
						"Give each change an id of its own; a change that is sent again has to be the same document.",
						"change id \"%s\" of source \"%s\" stands for another document",
						claim->change->change_id, claim->change->source);
}

/* A JsonbValue that can be put into an array of answers. */
static JsonbValue *
unpack(Jsonb *answer)
{
	JsonbParseState *state = NULL;
	JsonbIterator *it = JsonbIteratorInit(&answer->root);
	JsonbValue *result = NULL;
	JsonbIteratorToken token;
	JsonbValue	value;

	while ((token = JsonbIteratorNext(&it, &value, false)) != WJB_DONE)
		result = pushJsonbValue(&state, token, token == WJB_KEY || token == WJB_VALUE ||
								token == WJB_ELEM ? &value : NULL);
	return result;
}

/* The id stands twice among the documents of one call. */
static void
settle_repeat(Claim *claim, const Claim *first)
{
	claim->outcome = CLAIM_REPEATED;
	claim->first = first;
	if (memcmp(&claim->digest, &first->digest, sizeof(ChangeDigest)) != 0)
		refuse_other_document(claim);
}

static void
settle_known(Claim *claim, const KeptChange *kept)
{
	if (!kept->same_document)
		refuse_other_document(claim);
	else if (kept->problem != NULL)
	{
		claim->outcome = CLAIM_REFUSED;
		(void) change_error(&claim->error, ERRCODE_DATA_CORRUPTED,
							"Delete the row: the change is then decided again.", "%s", kept->problem);
	}
	else if (kept->answer == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("change id \"%s\" of source \"%s\" is being applied by this transaction",
						claim->change->change_id, claim->change->source),
				 errhint("A trigger on syncext's tables sends the change that it was fired by.")));
	else
	{
		claim->outcome = CLAIM_ANSWERED;
		claim->answer = unpack(kept->answer);
	}
}

static void
settle(ChangeIds *ids, Claim *claim, bool write)
{
	KeptChange	kept;

	claim->outcome = CLAIM_NEW;
	if (!write)
	{
		if (change_ids_find(ids, claim->change, &claim->digest, &kept))
			settle_known(claim, &kept);
		return;
	}
	/* an id whose claim is being removed as too old is free in a moment */
	while (!change_ids_claim(ids, claim->change, &claim->digest))
	{
		if (change_ids_find(ids, claim->change, &claim->digest, &kept))
		{
			settle_known(claim, &kept);
			return;
		}
	}
}

void
redelivery_claim(Claim *claims, int n, bool write)
{
	ChangeIds  *ids = mapped_open(&change_id_def, write);
	const Claim *first = NULL;

	qsort(claims, n, sizeof(Claim), compare_claims);
	for (int i = 0; i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		claims[i].digest = change_digest(claims[i].change);
		if (first != NULL && compare_ids(first, &claims[i]) == 0)
		{
			settle_repeat(&claims[i], first);
			continue;
		}
		first = &claims[i];
		settle(ids, &claims[i], write);
	}
	mapped_close(ids);
}

void
redelivery_keep(const Claim *claims, int n, JsonbValue *(*answer) (void *arg, int position),
				void *arg)
{
	ChangeIds  *ids = mapped_open(&change_id_def, true);

	for (int i = 0; i < n; i++)
	{
		JsonbValue *given = answer(arg, claims[i].position);

		if (claims[i].outcome != CLAIM_NEW)
			continue;
		if (given == NULL)
			change_ids_release(ids, claims[i].change);
		else
			change_ids_keep(ids, claims[i].change, JsonbValueToJsonb(given));
	}
	mapped_close(ids);
}
