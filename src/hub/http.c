/*
 * http.c
 *	  Callers that speak HTTP: PostgREST and gateways that set what it sets.
 *
 * A gateway tells of the request by settings of the transaction: request.method, and
 * request.headers, a JSON object whose keys are in lower case.  It takes the status
 * that it answers with from response.status, and of an error from its SQLSTATE.  Where
 * request.method isn't set, none of this does anything.
 */
#include "postgres.h"

#include "access/xact.h"
#include "tcop/pquery.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/jsonb.h"

#include "errcodes.h"
#include "hub/http.h"
#include "model/change.h"
#include "model/clip.h"
#include "model/json_read.h"
#include "process/subxact.h"

#define METHOD	"request.method"
#define HEADERS	"request.headers"
#define STATUS	"response.status"

static const char *
setting(const char *name)
{
	const char *value = GetConfigOption(name, true, false);

	return value != NULL && value[0] != '\0' ? value : NULL;
}

bool
http_is_request(void)
{
	return setting(METHOD) != NULL;
}

/* ---------- whose call it is ---------- */

/* How far from what the client has asked for. */
typedef enum CallPlace
{
	CALL_OF_STATEMENT,
	CALL_OF_TRIGGER,
	CALL_AT_COMMIT,				/* of a deferred trigger: no portal runs any more */
	CALL_NONE
} CallPlace;

static CallPlace first_place = CALL_NONE;	/* where this transaction's first call was made */

static void
at_end_of_transaction(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		first_place = CALL_NONE;
}

static CallPlace
call_place(void)
{
	if (DatumGetInt32(DirectFunctionCall1(pg_trigger_depth, (Datum) 0)) == 0)
		return CALL_OF_STATEMENT;
	return ActivePortal != NULL ? CALL_OF_TRIGGER : CALL_AT_COMMIT;
}

/*
 * A request may be a call, or write to a view whose trigger calls, for each row.  What
 * triggers call later than that, deferred ones among them, is sent on.
 */
bool
http_is_requested(void)
{
	static bool registered = false;
	CallPlace	place;

	if (!http_is_request())
		return false;
	if (!registered)
		RegisterXactCallback(at_end_of_transaction, NULL);
	registered = true;
	place = call_place();
	if (first_place == CALL_NONE)
		first_place = place;
	return place <= first_place;
}

/* ---------- If-Match ---------- */

typedef struct Headers
{
	const char *text;
	Jsonb	   *json;
} Headers;

static void
parse_headers(void *arg)
{
	Headers    *headers = arg;

	headers->json = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(headers->text)));
}

/* The header of the request; NULL: it has none, or what tells of headers is no such object. */
static char *
find_header(const char *name)
{
	Headers		headers = {setting(HEADERS), NULL};
	Fields		fields;

	if (headers.text == NULL)
		return NULL;
	if (subxact_try(parse_headers, &headers) != NULL || !JB_ROOT_IS_OBJECT(headers.json))
		return NULL;
	fields = fields_of(headers.json);
	return json_read_string(fields_value(&fields, name));
}

/* An entity tag, "12", strong or weak; quotes may be missing. */
static bool
parse_tag(const char *tag, int64 *row_version)
{
	const char *digits;
	size_t		n;
	bool		quoted;

	tag += strspn(tag, " \t");
	if (strncmp(tag, "W/", 2) == 0)
		tag += 2;
	quoted = *tag == '"';
	digits = tag + quoted;
	n = strspn(digits, "0123456789");
	tag = digits + n;
	if (n == 0 || n > 18 || (quoted && *tag++ != '"'))
		return false;
	*row_version = strtoi64(digits, NULL, 10);
	return tag[strspn(tag, " \t")] == '\0';
}

bool
http_if_match(int64 *row_version)
{
	char	   *tag;

	if (!http_is_request())
		return false;
	tag = find_header("if-match");
	if (tag == NULL)
		return false;
	if (!parse_tag(tag, row_version))
		ereport(ERROR,
				(errcode(ERRCODE_SYNC_BAD_DOCUMENT),
				 errmsg("If-Match names no row version: %s", clip_string(tag, CLIP_QUOTE)),
				 errhint("Send one, as If-Match: \"12\"; 0 if there must be no such record.")));
	return true;
}

/* ---------- the answer ---------- */

/* A change that waits for its parent was taken. */
static int
status_of(JsonbContainer *answer)
{
	const Fields fields = fields_of_object(answer);
	const char *name = json_read_string(fields_value(&fields, "resolution"));
	int64		number = 200;

	if (name != NULL && strcmp(name, "DEPENDENCY_WAIT") == 0)
		return 202;
	(void) json_read_number(fields_value(&fields, "status"), 100, 599, &number);
	return (int) number;
}

/* A batch is 207 where an item is anything but 200: each says how it went. */
static int
status_of_batch(JsonbContainer *answers)
{
	for (int i = 0; i < (int) JsonContainerSize(answers); i++)
	{
		JsonbContainer *answer = json_read_object(getIthJsonbValueFromContainer(answers, i));

		if (answer != NULL && status_of(answer) != 200)
			return 207;
	}
	return 200;
}

void
http_set_status(Jsonb *answer)
{
	int			status;

	if (!http_is_request())
		return;
	status = JB_ROOT_IS_ARRAY(answer) ? status_of_batch(&answer->root) : status_of(&answer->root);
	(void) set_config_option(STATUS, psprintf("%d", status), PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_LOCAL, true, 0, false);
}

/* PostgREST and its like answer PTnnn with the status nnn. */
int
http_errcode(int sqlerrcode, int status)
{
	if (!http_is_request())
		return sqlerrcode;
	return MAKE_SQLSTATE('P', 'T', '0' + status / 100, '0' + status / 10 % 10, '0' + status % 10);
}
