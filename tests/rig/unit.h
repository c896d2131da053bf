/* unit.h - for the unit tests: everything inside jobq, as if it were their own.
 *
 * What is tested is what ships: jobq.c, compiled once with JOBQ__INTERNAL open, and linked with the
 * test. It sees the headers of the modules, but not what only a .c file knows. A test that has to
 * compile jobq.c with macros of its own defines UNIT_INCLUDES_JOBQ_C before the include. In `make
 * modules` neither is so: the objects of the modules are linked (JOBQ_MODULES). */
#ifndef JOBQ_UNIT_H
#define JOBQ_UNIT_H

#if defined UNIT_INCLUDES_JOBQ_C && !defined JOBQ_MODULES
#include "../../jobq.c"
#else
#include "modules.h" /* made by the Makefile: one #include per header in MANIFEST */
#endif

#endif
