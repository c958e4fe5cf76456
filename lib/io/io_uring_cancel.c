/* SPDX-License-Identifier: MIT */
#include "io/io_uring.h"

static struct gate__uring *self_of(gate_io *io)
{
    return (struct gate__uring *)io;
}

/* A completion is posted only for one that found nothing. */
static int send_cancel(struct gate__uring *self, gate_op *op)
{
    struct io_uring_sqe *sqe = gate__uring_sqe(self);

    if (!sqe)
        return 0;
    io_uring_prep_cancel(sqe, op, 0);
    sqe->flags = IOSQE_CQE_SKIP_SUCCESS;
    sqe->user_data = (uint64_t)(uintptr_t)op + GATE__URING_CANCEL;
    op->state &= (uint8_t)~OP_CANCEL_DUE;
    return 1;
}

void gate__uring_send_cancels(struct gate__uring *self)
{
    for (gate_op *op = self->cancel.first; op; op = op->next)
        if ((op->state & OP_CANCEL_DUE) && !send_cancel(self, op))
            return;
    self->cancel_due = 0;
}

void gate__uring_repeat_cancel(struct gate__uring *self, uint64_t address)
{
    for (gate_op *op = self->cancel.first; op; op = op->next) {
        if ((uint64_t)(uintptr_t)op != address)
            continue;
        op->state |= OP_CANCEL_DUE;
        self->cancel_due = 1;
        return;
    }
}

/* Shutdown and close end by themselves, and so does what only waits to be completed. */
void gate__uring_cancel(gate_io *io, gate_sock *sock, gate_op *op)
{
    struct gate__uring *self = self_of(io);

    if (!gate__op_busy(op) || (op->state & (OP_CANCELLED | OP_RESULT)))
        return;
    op->state |= OP_CANCELLED;
    if (op->kind == GATE_OP_CONNECT && gate__retries_remove(&self->retries, sock))
        gate__uring_push(self, op);
    if (!(op->state & OP_KERNEL))
        return; /* where it is taken up next, it is seen */
    gate__op_list_push(&self->cancel, op);
    if (send_cancel(self, op))
        return;
    op->state |= OP_CANCEL_DUE;
    self->cancel_due = 1;
}
