/* SPDX-License-Identifier: MIT */
#define _POSIX_C_SOURCE 200809L
#include <ctype.h>
#include <gate/gate.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

/* http_hello [PORT]: HTTP/1.1 with one page: GET or HEAD / is answered by "hello". Connections stay
 * open and requests may be pipelined. A request that is not quite HTTP, or that could be read in
 * two ways, is refused and ends its connection, so that nothing can hide behind it. SIGTERM and
 * SIGINT end the server. */
enum {
    HEAD_MAX = 8192,      /* bytes of a request */
    FIRST_LINE_MAX = 4096 /* of its first line */
};

/* What reading a request comes to; anything else is the status that refuses it. */
enum { MORE = 0, WHOLE = 1 };

typedef struct slice {
    const char *bytes;
    size_t len;
} slice;

typedef struct request {
    slice path;
    int head_only; /* HEAD */
    int minor;     /* of HTTP/1.x */
    int hosts;     /* Host fields */
    int coded;     /* Transfer-Encoding fields */
    int sized;     /* Content-Length fields */
    int content;   /* a length that is not 0 */
    int close;     /* Connection: close */
    int keep_alive;
} request;

/* ---- One line ------------------------------------------------------------------------------ */

static int equal(slice text, const char *word)
{
    return text.len == strlen(word) && !memcmp(text.bytes, word, text.len);
}

static int equal_case(slice text, const char *word)
{
    return text.len == strlen(word) && !strncasecmp(text.bytes, word, text.len);
}

static int is_token(slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.bytes[i];
        if (!isalnum(c) && (!c || !strchr("-_!#$%&'*+.^`|~", c)))
            return 0;
    }
    return text.len > 0;
}

/* Takes what stands before the mark off the text's front, and the mark; all where it has none. */
static slice take(slice *text, char mark)
{
    const char *found = text->len ? memchr(text->bytes, mark, text->len) : NULL;
    slice front = {text->bytes, found ? (size_t)(found - text->bytes) : text->len};
    size_t taken = front.len + (found != NULL);
    text->bytes += taken;
    text->len -= taken;
    return front;
}

static slice trim(slice text)
{
    while (text.len && (*text.bytes == ' ' || *text.bytes == '\t'))
        text.bytes++, text.len--;
    while (text.len && (text.bytes[text.len - 1] == ' ' || text.bytes[text.len - 1] == '\t'))
        text.len--;
    return text;
}

/* 0, or the status that refuses it. */
static int read_method(request *r, slice method)
{
    static const char *const others[] = {"POST",  "PUT",     "DELETE", "OPTIONS",
                                         "PATCH", "CONNECT", "TRACE"};
    r->head_only = equal(method, "HEAD");
    if (r->head_only || equal(method, "GET"))
        return 0;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        if (equal(method, others[i]))
            return 405;
    }
    return 501;
}

/* "/path?query" or "http://host/path?query"; 0, or the status that refuses it. */
static int read_target(request *r, slice target)
{
    for (size_t i = 0; i < target.len; i++) {
        if (target.bytes[i] <= ' ' || target.bytes[i] >= 0x7f || target.bytes[i] == '#')
            return 400;
    }
    if (target.len > 7 && !strncasecmp(target.bytes, "http://", 7)) {
        size_t host = 7;
        while (host < target.len && target.bytes[host] != '/' && target.bytes[host] != '?')
            host++;
        if (host == 7)
            return 400;
        target.bytes += host;
        target.len -= host;
        if (!target.len || *target.bytes == '?')
            target = (slice){"/", 1}; /* the query changes nothing */
    }
    r->path = take(&target, '?');
    return r->path.len && *r->path.bytes == '/' ? 0 : 400;
}

/* "GET /path HTTP/1.1" */
static int read_request_line(request *r, slice line)
{
    slice method = take(&line, ' '), target = take(&line, ' ');
    if (!is_token(method) || !target.len || line.len != 8 || memcmp(line.bytes, "HTTP/", 5) ||
        !isdigit((unsigned char)line.bytes[5]) || line.bytes[6] != '.' ||
        !isdigit((unsigned char)line.bytes[7]))
        return 400;
    if (line.bytes[5] != '1')
        return 505;
    r->minor = line.bytes[7] - '0';
    int status = read_method(r, method);
    return status ? status : read_target(r, target);
}

static void read_connection(request *r, slice value)
{
    while (value.len) {
        slice option = trim(take(&value, ','));
        r->close |= equal_case(option, "close");
        r->keep_alive |= equal_case(option, "keep-alive");
    }
}

static int read_length(request *r, slice value)
{
    if (r->sized++ || !value.len)
        return 400; /* two could be read in two ways */
    for (size_t i = 0; i < value.len; i++) {
        if (!isdigit((unsigned char)value.bytes[i]))
            return 400;
        r->content |= value.bytes[i] != '0';
    }
    return 0;
}

static int read_host(request *r, slice value)
{
    for (size_t i = 0; i < value.len; i++) {
        unsigned char c = (unsigned char)value.bytes[i];
        if (!isalnum(c) && (!c || !strchr(".:-_[]~%!$&'()*+;=", c)))
            return 400;
    }
    return r->hosts++ ? 400 : 0;
}

/* "Name: value" */
static int read_field(request *r, slice line)
{
    slice value = line, name = take(&value, ':');
    if (name.len == line.len || !is_token(name))
        return 400; /* also a line that goes on from the one before, and a blank before the colon */
    value = trim(value);
    for (size_t i = 0; i < value.len; i++) {
        unsigned char c = (unsigned char)value.bytes[i];
        if ((c < ' ' && c != '\t') || c == 0x7f)
            return 400;
    }
    if (equal_case(name, "Host"))
        return read_host(r, value);
    if (equal_case(name, "Content-Length"))
        return read_length(r, value);
    if (equal_case(name, "Connection"))
        read_connection(r, value);
    r->coded += equal_case(name, "Transfer-Encoding");
    return 0;
}

/* ---- The head of a request ----------------------------------------------------------------- */

/* Lines end with CRLF; a bare LF is refused, as others may not see a line's end there. */
static int read_line(request *r, slice line, int first)
{
    if (first && line.len > FIRST_LINE_MAX)
        return 414;
    if (!line.len || line.bytes[--line.len] != '\r')
        return 400;
    if (first)
        return read_request_line(r, line);
    return line.len ? read_field(r, line) : WHOLE;
}

/* Reads the lines from *at on, and leaves *at behind the last one. What it returns depends on the
 * first line that is wrong, never on how many bytes are there. */
static int read_lines(request *r, const char *in, size_t len, size_t *at)
{
    size_t start =
        len > 1 && in[0] == '\r' && in[1] == '\n' ? 2 : 0; /* one empty line is nothing */
    if (*at < start)
        *at = start;
    for (;;) {
        size_t room = (len < HEAD_MAX ? len : HEAD_MAX) - *at;
        const char *end = memchr(in + *at, '\n', room);
        if (!end && *at == start && room > FIRST_LINE_MAX)
            return 414;
        if (!end)
            return len < HEAD_MAX ? MORE : 431;
        slice line = {in + *at, (size_t)(end - (in + *at))};
        int status = read_line(r, line, *at == start);
        *at += line.len + 1;
        if (status)
            return status;
    }
}

/* A codec cannot answer. So what is refused is a frame too, and the handler, which reads it again
 * from the same bytes, says what is wrong. */
static int decode(const gate_codec *codec, const uint8_t *input, size_t len, size_t body_max,
                  int eof, gate_frame *frame)
{
    (void)codec, (void)body_max, (void)eof;
    request r = {0};
    size_t at = frame->scanned; /* a line that was read is not read again */
    int status = read_lines(&r, (const char *)input, len, &at);
    frame->scanned = at;
    frame->total = status == WHOLE ? at : len;
    frame->body = 0;
    frame->body_len = frame->total;
    return status != MORE;
}

/* WHOLE, or the status that refuses the request. */
static int read_request(request *r, const void *body, size_t len)
{
    size_t at = 0;
    int status = read_lines(r, body, len, &at);
    if (status != WHOLE)
        return status;
    if (!r->hosts && r->minor > 0)
        return 400;
    if (r->coded)
        return r->sized || !r->minor ? 400 : 501;
    return r->content ? 413 : WHOLE;
}

/* ---- The replies --------------------------------------------------------------------------- */

/* A ready reply. Its date is the only thing in it that changes. */
typedef struct page {
    char text[256];
    char *date;
    size_t head_len;
    size_t len;
} page;

enum { PLAIN, KEEP_ALIVE, CLOSE, KINDS };

typedef struct site {
    time_t now; /* of the date in the pages */
    page hello[KINDS];
    page missing[KINDS];
} site;

static const char *const connection[KINDS] = {"", "Connection: keep-alive\r\n",
                                              "Connection: close\r\n"};

/* Room for the date is left in it. */
static void write_page(page *p, const char *status, const char *fields, const char *text)
{
    int n = snprintf(p->text, sizeof p->text,
                     "HTTP/1.1 %s\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n"
                     "Content-Type: text/plain\r\nContent-Length: %zu\r\n%s\r\n%s",
                     status, strlen(text), fields, text);
    p->date = strstr(p->text, "Thu, ");
    p->len = (size_t)n;
    p->head_len = p->len - strlen(text);
}

static void write_date(char *to, time_t now)
{
    char date[sizeof "Thu, 01 Jan 1970 00:00:00 GMT"];
    struct tm tm;
    if (gmtime_r(&now, &tm) && strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", &tm))
        memcpy(to, date, sizeof date - 1);
}

static void update_dates(site *s)
{
    time_t now = time(NULL);
    if (now == s->now)
        return;
    s->now = now;
    for (int i = 0; i < KINDS; i++) {
        write_date(s->hello[i].date, now);
        write_date(s->missing[i].date, now);
    }
}

static void refuse(gate_request *req, int status, int head_only)
{
    static const struct {
        int status;
        const char *text, *fields;
    } refusals[] = {
        {400, "400 Bad Request", "Connection: close\r\n"},
        {405, "405 Method Not Allowed", "Allow: GET, HEAD\r\nConnection: close\r\n"},
        {413, "413 Content Too Large", "Connection: close\r\n"},
        {414, "414 URI Too Long", "Connection: close\r\n"},
        {431, "431 Request Header Fields Too Large", "Connection: close\r\n"},
        {501, "501 Not Implemented", "Connection: close\r\n"},
        {505, "505 HTTP Version Not Supported", "Connection: close\r\n"},
    };
    size_t i = sizeof refusals / sizeof *refusals - 1;
    char text[64];
    page p;
    while (i > 0 && refusals[i].status != status)
        i--;
    snprintf(text, sizeof text, "%s\n", refusals[i].text);
    write_page(&p, refusals[i].text, refusals[i].fields, text);
    write_date(p.date, time(NULL));
    gate_reject(req, p.text, head_only ? p.head_len : p.len);
}

static void handle(gate_request *req, const void *body, size_t len, void *user)
{
    site *s = user;
    request r = {0};
    int status = read_request(&r, body, len);
    if (status != WHOLE) {
        refuse(req, status, r.head_only);
        return;
    }
    int kind = r.close || (!r.minor && !r.keep_alive) ? CLOSE : r.minor ? PLAIN : KEEP_ALIVE;
    update_dates(s);
    const page *p = equal(r.path, "/") ? &s->hello[kind] : &s->missing[kind];
    if (kind == CLOSE)
        gate_reject(req, p->text, r.head_only ? p->head_len : p->len);
    else
        gate_reply(req, p->text, r.head_only ? p->head_len : p->len);
}

/* ---- The program --------------------------------------------------------------------------- */

static gate_server *server;

static void stop(int signal_number)
{
    (void)signal_number;
    gate_server_stop(server);
}

int main(int argc, char **argv)
{
    static site s;
    const gate_codec http = {.size = sizeof http, .decode = decode};
    gate_options options = {
        .size = sizeof options,
        .handler = handle,
        .user = &s,
        .codec = &http,
        .request_max = HEAD_MAX,
        .idle_timeout_ms = 60 * 1000,
    };
    struct sigaction action = {.sa_handler = stop};
    uint16_t port = argc > 1 ? (uint16_t)atoi(argv[1]) : 9001;
    for (int i = 0; i < KINDS; i++) {
        write_page(&s.hello[i], "200 OK", connection[i], "hello\n");
        write_page(&s.missing[i], "404 Not Found", connection[i], "404 Not Found\n");
    }
    int rc = gate_server_open(&server, &options);
    if (!rc)
        rc = gate_server_listen(server, "127.0.0.1", port, 0);
    if (!rc) {
        sigaction(SIGTERM, &action, NULL);
        sigaction(SIGINT, &action, NULL);
        printf("listening on port %u\n", gate_server_port(server));
        fflush(stdout);
        rc = gate_server_serve(server);
    }
    if (rc)
        fprintf(stderr, "http_hello: %s\n", gate_strerror(rc));
    signal(SIGTERM, SIG_DFL);
    signal(SIGINT, SIG_DFL);
    gate_server_close(server);
    return rc ? 1 : 0;
}
