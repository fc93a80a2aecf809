/*
 * load_details.h
 *	  Which values a load has replaced or kept back.
 */
#ifndef SYNCEXT_LOAD_DETAILS_H
#define SYNCEXT_LOAD_DETAILS_H

#include "model/fields.h"

typedef enum LoadDetail
{
	DETAIL_REPLACED,			/* a value of others that went */
	DETAIL_KEPT_BACK			/* a value of the relation's that another one stood against */
} LoadDetail;

#define DETAIL_NKINDS	2

/* Field by field and source by source, with some examples. */
typedef struct LoadDetails LoadDetails;

/* Make it in the current memory context. */
extern LoadDetails *load_details_make(void);
/*
 * Count a value of field name: of source, at the hub, against the relation's.  NULL:
 * there is none.
 */
extern void load_details_add(LoadDetails *details, LoadDetail kind, FieldName name,
							 const char *source, const char *external_id,
							 const JsonbValue *hub, const JsonbValue *relation);
extern int64 load_details_count(const LoadDetails *details, LoadDetail kind);
/* Push them as a value: {"replaced": [{"field", "source", "count", "examples"}], ...}. */
extern void load_details_push(const LoadDetails *details, JsonbParseState **state);

#endif							/* SYNCEXT_LOAD_DETAILS_H */
