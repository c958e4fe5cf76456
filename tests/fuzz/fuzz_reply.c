/* SPDX-License-Identifier: MIT */
/* The client: the input is a script. Its head chooses the codec, the address and the calls, what
 * follows is what the network and a server that may answer anything do with them. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client.h"
#include "core/codec.h"
#include "liar.h"

enum { CALLS_MAX = 16, REQUEST_MAX = 200 };

typedef struct play {
    liar l;
    fuzz_input *script;
    const gate_codec *codec;
    gate_codec own;
} play;

typedef struct call {
    uint8_t *request;
    size_t request_len;
    uint8_t *room;
    size_t size;
    size_t reply_len;
    int rc;
} call;

static int reads_until_close(const gate_codec *codec)
{
    return (codec->flags & GATE_CODEC_REPLY_UNTIL_CLOSE) != 0;
}

/* What the codec finds in all that the server said. */
static int decode_said(const play *p, const call *c, gate_frame *frame)
{
    int eof = p->l.said_end && (p->codec->flags & GATE_CODEC_UNTIL_EOF);

    *frame = (gate_frame){0};
    return p->l.said_len ? p->codec->decode(p->codec, p->l.said, p->l.said_len, c->size, eof, frame)
                         : 0;
}

/* ---- What must hold ---- */

static void check_whole_request(const play *p, const call *c)
{
    gate_wrap wrap;

    CHECK(gate__codec_encode(p->codec, c->request, c->request_len, &wrap) == 0);
    size_t head = wrap.head_len, len = c->request_len, tail = wrap.tail_len;
    uint8_t *whole = malloc(head + len + tail + 1);
    CHECK(whole != NULL);
    memcpy(whole, wrap.head, head);
    memcpy(whole + head, c->request, len);
    memcpy(whole + head + len, wrap.tail, tail);
    /* A server may answer and close before it has taken all. */
    CHECK(p->l.sent_len <= head + len + tail);
    CHECK(p->l.sent_len == 0 || memcmp(p->l.sent, whole, p->l.sent_len) == 0);
    free(whole);
}

static void check_stream(const play *p, const call *c)
{
    CHECK(c->reply_len <= p->l.said_len);
    CHECK(c->reply_len == 0 || memcmp(c->room, p->l.said, c->reply_len) == 0);
    if (c->rc == 0)
        CHECK(c->reply_len > 0 && c->reply_len == p->l.said_len);
    if (c->rc == GATE_EROOM)
        CHECK(c->reply_len == c->size && p->l.said_len > c->size);
    CHECK(c->rc != GATE_EFRAME);
}

static void check_framed(const play *p, const call *c)
{
    gate_frame frame;
    int found = decode_said(p, c, &frame);

    if (found == 1 && !gate__frame_fits(&frame, p->l.said_len))
        found = GATE_EFRAME;
    else if (found < 0 && found != GATE_ETOOBIG)
        found = GATE_EFRAME;
    if (c->rc == 0) {
        CHECK(found == 1 && frame.body_len == c->reply_len);
        CHECK(!c->reply_len || memcmp(c->room, p->l.said + frame.body, c->reply_len) == 0);
        return;
    }
    if (c->rc == GATE_EROOM && found == 1) {
        CHECK(frame.body_len > c->size && c->reply_len == c->size);
        CHECK(!c->size || memcmp(c->room, p->l.said + frame.body, c->size) == 0);
        return;
    }
    CHECK(c->reply_len == 0);
    if (c->rc == GATE_EROOM)
        CHECK(found == GATE_ETOOBIG);
    if (c->rc == GATE_EFRAME)
        CHECK(found == GATE_EFRAME);
    /* After a reset of what was sent, an end of input may not be the reply's. */
    if (c->rc == GATE_ETRUNCATED || c->rc == GATE_ELATE)
        CHECK(found == 0 || (p->l.said_end && (p->codec->flags & GATE_CODEC_UNTIL_EOF)));
}

static int is_sent_code(int rc)
{
    return rc == GATE_EFRAME || rc == GATE_EROOM || rc == GATE_ETRUNCATED || rc == GATE_ECLOSED ||
           rc == GATE_ELATE || rc == GATE_EBROKEN;
}

/* An error says for certain that nothing left only where nothing did. */
static void check_outcome(const play *p, const call *c)
{
    int outcome = gate_outcome(c->rc);

    CHECK(c->rc <= 0 && c->rc != -ECANCELED);
    if (c->rc == 0 || is_sent_code(c->rc))
        CHECK(outcome != GATE_NOT_SENT);
    else
        CHECK(outcome == GATE_NOT_SENT && p->l.sent_len == 0);
    CHECK((outcome == GATE_ANSWERED) == (c->rc == 0 || c->rc == GATE_EROOM));
}

static void check_call(const play *p, const call *c)
{
    CHECK(c->reply_len <= c->size);
    check_outcome(p, c);
    if (gate_outcome(c->rc) == GATE_NOT_SENT) {
        CHECK(c->reply_len == 0);
        return;
    }
    check_whole_request(p, c);
    if (reads_until_close(p->codec))
        check_stream(p, c);
    else
        check_framed(p, c);
    if (c->rc != 0 || (p->codec->flags & GATE_CODEC_ONE_SHOT))
        CHECK(p->l.open == 0);
}

/* ---- The script ---- */

static void make_call(play *p, gate_client *client)
{
    const uint8_t *bytes;
    gate_wrap wrap;
    call c = {.request_len = fuzz_byte(p->script) % REQUEST_MAX};
    int timeout_ms = 1 + fuzz_byte(p->script) % 8;

    c.size = c.reply_len = fuzz_byte(p->script);
    c.request_len = fuzz_bytes(p->script, c.request_len, &bytes);
    c.request = fuzz_copy(bytes, c.request_len);
    c.room = malloc(c.size ? c.size : 1);
    CHECK(c.room != NULL);
    liar_forget(&p->l);
    int fit = gate__codec_encode(p->codec, c.request, c.request_len, &wrap);
    c.rc = gate_client_call(client, c.request, c.request_len, c.room, &c.reply_len, timeout_ms);
    if (fit != 0)
        CHECK(c.rc == fit && c.reply_len == 0 && p->l.sent_len == 0);
    else
        check_call(p, &c);
    free(c.request);
    free(c.room);
}

static const gate_codec *draw_codec(play *p)
{
    if (!p->script->left || *p->script->at % 16 != 15)
        return fuzz_codec(p->script, &p->own);
    p->own = fuzz_own_codec(fuzz_byte(p->script) & 16 ? GATE_CODEC_UNTIL_EOF : 0);
    return &p->own;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input script = {data, size};
    play p = {.script = &script};
    gate_client *client = NULL;

    liar_init(&p.l, &script);
    p.codec = draw_codec(&p);
    uint8_t draw = fuzz_byte(&script);
    const gate_client_options options = {
        .size = sizeof(options), .timeout_ms = draw & 2 ? GATE_NEVER : 4, .codec = p.codec};
    int rc = gate__client_open_on(&client, &p.l.io, draw & 1 ? "liar.test" : "127.0.0.1", 9001,
                                  &options);
    CHECK((rc == 0) == (client != NULL) && (rc == 0) == (p.l.open == 1));
    CHECK(rc == 0 || (gate_outcome(rc) == GATE_NOT_SENT && rc != -ECANCELED));
    for (int i = 0; rc == 0 && i < CALLS_MAX && script.left > 0; i++)
        make_call(&p, client);
    gate_client_close(client);
    CHECK(p.l.open == 0 && p.l.freed == (rc == 0));
    liar_forget(&p.l);
    return 0;
}
