/*
 * rotate.h
 *	  Rotating and truncating the tables of the change log.
 */
#ifndef SYNCEXT_ROTATE_H
#define SYNCEXT_ROTATE_H

#include "hub/maintain.h"

/* Truncate the log tables that nobody needs any more. */
extern void rotate_truncate(Maintenance *m);
/* Let the next log table be written to, if it is time and it is empty. */
extern void rotate_switch(Maintenance *m);

#endif							/* SYNCEXT_ROTATE_H */
