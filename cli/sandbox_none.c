/* SPDX-License-Identifier: MIT */
/* In place of sandbox.c where there is no libseccomp to build it with. */
#include "exit.h"
#include "report.h"
#include "sandbox.h"

int sandbox_prepare(void)
{
    return 0; /* sandbox_enter says that there is none */
}

int sandbox_enter(const sandbox_needs *needs)
{
    (void)needs;
    report_error("--sandbox: this build has none, for it was made without libseccomp");
    report_hint("build it anew with libseccomp's headers installed");
    return GATE_EXIT_LOCAL;
}
