/*
 * http.h
 *	  Callers that speak HTTP: PostgREST and gateways that set what it sets.
 */
#ifndef SYNCEXT_HTTP_H
#define SYNCEXT_HTTP_H

#include "utils/jsonb.h"

/* Did a gateway say that the statement stands for a request?  False for all others. */
extern bool http_is_request(void);
/* Is the outermost call of sync_apply that begins now what the request has asked for? */
extern bool http_is_requested(void);
/*
 * Does the request name the row version that the record has to have, in If-Match?
 * Raises 22023 if it names something else.
 */
extern bool http_if_match(int64 *row_version);
/* If this is a request, let the gateway answer with what sync_apply's answer says. */
extern void http_set_status(Jsonb *answer);
/* The SQLSTATE that a gateway answers with this status; sqlerrcode for all other callers. */
extern int	http_errcode(int sqlerrcode, int status);

#endif							/* SYNCEXT_HTTP_H */
