/* Members' messages over TCP, by Gloo: a connection for each pair of them, unbound buffers.
 *
 *   create     a device (Gloo's thread that moves data) and a listening socket for each peer, all
 *              fresh; addresses and a token are said, heard, connected to, and greeted with: who
 *              does not know the other's token is no member of this epoch
 *   exchange   all receives and sends are posted, then waited for one by one
 *   abort      ends the wait, and closes all connections, so that peers see it, too
 *
 * What Gloo lacks is done by a sentry, a thread that looks every 10 ms while there is something to
 * wait for: Gloo waits five times as long as it is told for each peer to connect; a wait that times
 * out closes everything, so none can be made in small pieces; and a send that waits until the peer
 * is ready is not told that the peer has died (20220518: a survivor waited for ever).
 *
 * Messages go by slots, of which each is (length, number): a peer that sends another length than is
 * received here never meets it, where Gloo would end the process. */
#include "dist/gloo_plugin.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <exception>
#include <memory>
#include <mutex>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <pthread.h>
#include <unistd.h>

#include <gloo/transport/context.h>
#include <gloo/transport/device.h>
#include <gloo/transport/pair.h>
#include <gloo/transport/tcp/device.h>
#include <gloo/transport/unbound_buffer.h>

#include "spotgrad.h"

namespace {

using Clock = std::chrono::steady_clock;
using Milliseconds = std::chrono::milliseconds;
using gloo::transport::UnboundBuffer;

constexpr uint64_t kGreetingSlot = UINT64_MAX, kCanarySlot = UINT64_MAX - 1;
constexpr int kNumberBits = 20; // of a slot; the rest is the length
constexpr Milliseconds kLook(10);
constexpr double kForever = 1e8; // seconds, which a count of milliseconds of any kind can hold

/* What a member says is this, and then its listening sockets' addresses in the order of the peers.
 */
struct Card {
    uint64_t token;
    uint32_t address_bytes, addresses; // length of one; how many
};

struct Greeting {
    uint64_t to_token, from_token;
    int64_t epoch;
    int32_t from, to;
};

/* Signals stay with the program's threads: those that are started meanwhile get none. */
class NoSignals {
  public:
    NoSignals() {
        sigset_t all;

        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before_);
    }
    ~NoSignals() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
    NoSignals(const NoSignals &) = delete;
    NoSignals &operator=(const NoSignals &) = delete;

  private:
    sigset_t before_;
};

/* Gloo writes to sockets whose other end may be gone; the program's own handling of SIGPIPE, and
 * one that came before, are left alone. */
class NoSigpipe {
  public:
    NoSigpipe() {
        sigset_t pending;

        sigemptyset(&pipe_);
        sigaddset(&pipe_, SIGPIPE);
        sigpending(&pending);
        was_pending_ = sigismember(&pending, SIGPIPE) == 1;
        pthread_sigmask(SIG_BLOCK, &pipe_, &before_);
    }
    ~NoSigpipe() {
        timespec none{};

        while (!was_pending_ && sigtimedwait(&pipe_, nullptr, &none) == SIGPIPE) continue;
        pthread_sigmask(SIG_SETMASK, &before_, nullptr);
    }
    NoSigpipe(const NoSigpipe &) = delete;
    NoSigpipe &operator=(const NoSigpipe &) = delete;

  private:
    sigset_t pipe_, before_;
    bool was_pending_;
};

/* What say or hear returned: their text stands already. */
struct Passed {
    sg_status status;
};

struct Deadline {
    explicit Deadline(double seconds)
        : end(Clock::now() +
              Milliseconds(static_cast<int64_t>(
                  (seconds > 0 ? (seconds < kForever ? seconds : kForever) : 0) * 1e3))) {}
    Milliseconds left() const {
        return std::chrono::duration_cast<Milliseconds>(end - Clock::now());
    }
    bool is_over() const { return Clock::now() >= end; }
    Clock::time_point end;
};

/* Something to wait for. */
struct Transfer {
    std::unique_ptr<UnboundBuffer> buffer;
    int peer;
    bool receive, done;
};

std::runtime_error aborted_error() { return std::runtime_error("the exchange was aborted"); }

} // namespace

struct sg_gloo {
    const int rank, size;
    const int64_t epoch;
    uint64_t token = 0;
    std::shared_ptr<gloo::transport::Device> device; // goes after what uses it
    std::shared_ptr<gloo::transport::Context> context;
    std::vector<uint64_t> peer_token, sent, received; // messages to and from each peer

    std::mutex lock; // of what follows
    bool aborted = false;
    std::vector<Transfer> transfers; // under way; changed by the exchange's thread alone
    size_t current = 0;              // which one it waits for
    std::vector<std::unique_ptr<UnboundBuffer>> canary; // receives that nobody ever sends
    std::vector<std::string> broken; // what is wrong with the connection to each peer; "": nothing
    const sg_introduction *connecting = nullptr; // until `connect_by`
    Clock::time_point connect_by;

    bool ended = false, asleep = false; // the sentry
    std::condition_variable changed;
    std::thread sentry;

    sg_gloo(int rank_, int size_, int64_t epoch_)
        : rank(rank_), size(size_), epoch(epoch_), peer_token(size_), sent(size_), received(size_),
          canary(size_), broken(size_) {}
    ~sg_gloo();
    sg_gloo(const sg_gloo &) = delete;
    sg_gloo &operator=(const sg_gloo &) = delete;

    template <typename F> void each_peer(F f) {
        for (int k = 0; k < size; k++)
            if (k != rank) f(k);
    }
    void listen(const sg_transport_options &o);
    std::vector<char> card() const;
    void connect(const std::vector<char> &heard, int k);
    void connect_all(const sg_transport_options &o, const Deadline &deadline);
    void greet(const Deadline &deadline);
    bool stop_connecting();

    void expect(size_t n);
    void post(int peer, bool receive, void *data, size_t bytes, uint64_t slot);
    bool wait_for(Transfer &t, Milliseconds time);
    void wait_for_current(const Deadline &deadline, double seconds);
    void settle_broken();
    void wait_for_all(const Deadline &deadline, double seconds);
    void forget();

    void watch();
    void look();
    void interrupt();
    void abort();
};

/* Ends all transfers, whichever way one leaves. */
class Forgetting {
  public:
    explicit Forgetting(sg_gloo &t) : t_(t) {}
    ~Forgetting() { t_.forget(); }
    Forgetting(const Forgetting &) = delete;
    Forgetting &operator=(const Forgetting &) = delete;

  private:
    sg_gloo &t_;
};

void sg_gloo::listen(const sg_transport_options &o) {
    NoSignals quiet;
    gloo::transport::tcp::attr where(o.interface);
    std::random_device random;

    token = static_cast<uint64_t>(random()) << 32 | random();
    device = gloo::transport::tcp::CreateDevice(where);
    context = device->createContext(rank, size);
    context->setTimeout(Milliseconds(static_cast<int64_t>(kForever)));
    each_peer([this](int k) { context->createPair(k); });
    sentry = std::thread([this] { watch(); });
}

std::vector<char> sg_gloo::card() const {
    std::vector<char> said(sizeof(Card));
    Card c{token, 0, static_cast<uint32_t>(size - 1)};

    for (int k = 0; k < size; k++) {
        if (k == rank) continue;
        std::vector<char> address = context->getPair(k)->address().bytes();

        c.address_bytes = static_cast<uint32_t>(address.size());
        said.insert(said.end(), address.begin(), address.end());
        if (said.size() > SG_INTRODUCTION_BYTES)
            throw std::runtime_error("addresses of " + std::to_string(size) +
                                     " members are longer than can be told");
    }
    memcpy(said.data(), &c, sizeof c);
    return said;
}

/* To the socket that member k has for us. */
void sg_gloo::connect(const std::vector<char> &heard, int k) {
    const std::runtime_error bad("what member " + std::to_string(k) +
                                 " said is of another version of this program or of Gloo");
    Card c{};
    size_t bytes = context->getPair(k)->address().bytes().size(),
           before = rank < k ? rank : rank - 1;

    if (heard.size() != sizeof c + bytes * static_cast<size_t>(size - 1)) throw bad;
    memcpy(&c, heard.data(), sizeof c);
    if (c.addresses != static_cast<uint32_t>(size - 1) || c.address_bytes != bytes) throw bad;

    const char *at = heard.data() + sizeof c + before * bytes;
    std::vector<char> address(at, at + bytes);

    peer_token[k] = c.token;
    context->getPair(k)->connect(address);

    std::unique_ptr<UnboundBuffer> bird = context->createUnboundBuffer(nullptr, 0);

    bird->recv(k, kCanarySlot, 0, 0);
    std::lock_guard<std::mutex> guard(lock);
    canary[static_cast<size_t>(k)] = std::move(bird);
}

void sg_gloo::connect_all(const sg_transport_options &o, const Deadline &deadline) {
    const sg_introduction &i = o.introduction;
    std::vector<char> said = card();
    sg_status st = i.say(i.context, said.data(), said.size());

    if (st != SG_OK) throw Passed{st};
    each_peer([&](int k) {
        std::vector<char> heard(SG_INTRODUCTION_BYTES);
        size_t bytes = 0;
        double left = std::chrono::duration<double>(deadline.end - Clock::now()).count();

        st = i.hear(i.context, k, heard.data(), heard.size(), &bytes, left);
        if (st != SG_OK) throw Passed{st};
        heard.resize(bytes);
        connect(heard, k);
    });
}

void sg_gloo::greet(const Deadline &deadline) {
    std::vector<Greeting> in(size), out(size);
    Forgetting at_the_end(*this); // before these are gone

    each_peer([&](int k) {
        post(k, true, &in[k], sizeof in[k], kGreetingSlot);
        out[k] = {peer_token[k], token, epoch, rank, k};
        post(k, false, &out[k], sizeof out[k], kGreetingSlot);
    });
    wait_for_all(deadline, std::chrono::duration<double>(deadline.end - Clock::now()).count());
    each_peer([&](int k) {
        const Greeting &g = in[k];

        if (g.to_token != token || g.from_token != peer_token[k] || g.epoch != epoch ||
            g.from != k || g.to != rank)
            throw std::runtime_error("who connected as member " + std::to_string(k) +
                                     " is not that member of this epoch");
    });
}

/* Room for n transfers, so that none is moved while the sentry looks at it. */
void sg_gloo::expect(size_t n) {
    std::lock_guard<std::mutex> guard(lock);

    transfers.reserve(n);
}

void sg_gloo::post(int peer, bool receive, void *data, size_t bytes, uint64_t slot) {
    std::unique_ptr<UnboundBuffer> owned = context->createUnboundBuffer(data, bytes);
    UnboundBuffer *buffer = owned.get();

    {
        std::lock_guard<std::mutex> guard(lock);

        if (aborted) throw aborted_error();
        transfers.push_back({std::move(owned), peer, receive, false});
        if (asleep) changed.notify_all();
        asleep = false;
    }
    if (receive)
        buffer->recv(peer, slot, 0, bytes);
    else
        buffer->send(peer, slot, 0, bytes);
}

/* false: interrupted. A wait whose time is over closes all connections. */
bool sg_gloo::wait_for(Transfer &t, Milliseconds time) {
    t.done = t.receive ? t.buffer->waitRecv(nullptr, time) : t.buffer->waitSend(nullptr, time);
    return t.done;
}

void sg_gloo::wait_for_current(const Deadline &deadline, double seconds) {
    Transfer &t = transfers[current];
    std::string who = "member " + std::to_string(t.peer) + " of " + std::to_string(size);

    while (!t.done) {
        try {
            if (wait_for(t, std::max(deadline.left(), Milliseconds(1)))) return;
        } catch (const std::exception &e) {
            char late[64];

            snprintf(late, sizeof late, " did not %s within %.3g s", t.receive ? "send" : "receive",
                     seconds);
            throw std::runtime_error(who +
                                     (deadline.is_over() ? late : std::string(": ") + e.what()));
        }
        settle_broken();
    }
}

/* Of peers whose connection has ended all must have been done before. */
void sg_gloo::settle_broken() {
    std::vector<std::string> what;

    {
        std::lock_guard<std::mutex> guard(lock);

        if (aborted) throw aborted_error();
        what = broken;
    }
    for (Transfer &t : transfers) {
        const std::string &text = what[static_cast<size_t>(t.peer)];

        if (text.empty() || t.done) continue;
        try {
            while (!wait_for(t, Milliseconds(1))) continue;
        } catch (const std::exception &) {
            throw std::runtime_error("member " + std::to_string(t.peer) + " of " +
                                     std::to_string(size) + ": " + text);
        }
    }
}

void sg_gloo::wait_for_all(const Deadline &deadline, double seconds) {
    for (size_t i = 0; i < transfers.size(); i++) {
        {
            std::lock_guard<std::mutex> guard(lock);

            if (aborted) throw aborted_error();
            current = i;
        }
        wait_for_current(deadline, seconds);
    }
}

/* The caller's memory is not touched any more, once this returns. */
void sg_gloo::forget() {
    std::vector<Transfer> old;
    std::lock_guard<std::mutex> guard(lock);

    old.swap(transfers);
    current = 0;
}

/* End the wait that is under way; with the lock. */
void sg_gloo::interrupt() {
    if (current >= transfers.size()) return;
    if (transfers[current].receive)
        transfers[current].buffer->abortWaitRecv();
    else
        transfers[current].buffer->abortWaitSend();
}

void sg_gloo::abort() {
    {
        std::lock_guard<std::mutex> guard(lock);

        aborted = true;
        interrupt();
    }
    each_peer([this](int k) {
        auto &pair = context->getPair(k);

        if (pair) pair->close();
    });
}

bool sg_gloo::stop_connecting() {
    std::lock_guard<std::mutex> guard(lock); // so that it is not called once `create` returns

    return connecting && !aborted &&
           (Clock::now() >= connect_by ||
            (connecting->stop && connecting->stop(connecting->context)));
}

/* A wait that was interrupted before it begins takes no time; it throws where the connection has
 * ended. */
void sg_gloo::look() {
    if (stop_connecting()) abort();

    std::lock_guard<std::mutex> guard(lock);

    each_peer([this](int k) {
        UnboundBuffer *bird = canary[static_cast<size_t>(k)].get();
        std::string &text = broken[static_cast<size_t>(k)];

        if (!bird || !text.empty()) return;
        try {
            bird->abortWaitRecv();
            bird->waitRecv(nullptr, Milliseconds(1));
        } catch (const std::exception &e) {
            text = e.what();
            interrupt();
        }
    });
}

void sg_gloo::watch() {
    std::unique_lock<std::mutex> guard(lock);

    while (!ended) {
        asleep = transfers.empty() && !connecting;
        if (asleep) changed.wait(guard, [this] { return !asleep || ended; });
        if (changed.wait_for(guard, kLook, [this] { return ended; })) return;
        guard.unlock();
        look();
        guard.lock();
    }
}

sg_gloo::~sg_gloo() {
    {
        std::lock_guard<std::mutex> guard(lock);

        ended = true;
    }
    changed.notify_all();
    if (sentry.joinable()) sentry.join();
}

namespace {

void tell(char *why, size_t bytes, const char *text) { snprintf(why, bytes, "gloo: %s", text); }

/* Runs `f`, whose exceptions become a status. */
template <typename F> sg_status guarded(char *why, size_t bytes, F f) {
    why[0] = '\0';
    try {
        f();
        return SG_OK;
    } catch (const Passed &p) {
        return p.status;
    } catch (const std::bad_alloc &) {
        tell(why, bytes, "no memory");
        return SG_ERR_OOM;
    } catch (const std::exception &e) {
        tell(why, bytes, e.what());
    } catch (...) {
        tell(why, bytes, "an exception of no known kind");
    }
    return SG_ERR_UNAVAILABLE;
}

void abort_all(sg_gloo *t) {
    char unheard[64];

    guarded(unheard, sizeof unheard, [t] { t->abort(); });
}

void destroy(sg_gloo *t) {
    NoSigpipe quiet;

    delete t;
}

/* The introduction is not asked any more, once this returns. Whether all went well. */
bool end_connecting(sg_gloo &t) {
    std::lock_guard<std::mutex> guard(t.lock);

    t.connecting = nullptr;
    return !t.aborted;
}

sg_status create(const sg_transport_options *options, sg_gloo **out, char *why, size_t bytes) {
    NoSigpipe quiet;
    Deadline deadline(options->seconds);
    std::unique_ptr<sg_gloo> t;
    sg_status st = guarded(why, bytes, [&] {
        t = std::make_unique<sg_gloo>(options->rank, options->size, options->epoch);
        t->connecting = &options->introduction;
        t->connect_by = deadline.end;
        t->listen(*options);
        t->connect_all(*options, deadline);
        t->greet(deadline);
    });

    if (t && !end_connecting(*t)) {
        if (st == SG_OK || why[0] != '\0')
            tell(why, bytes,
                 deadline.is_over() ? "not all members came in time" : "was told to stop");
        if (st == SG_OK) st = SG_ERR_UNAVAILABLE; // at the last moment
    }
    if (st == SG_OK) *out = t.release();
    return st;
}

uint64_t slot_of(uint64_t bytes, uint64_t number) {
    return bytes << kNumberBits | (number & ((UINT64_C(1) << kNumberBits) - 1));
}

sg_status exchange(sg_gloo *t, const sg_transfer *message, int n, double seconds, char *why,
                   size_t bytes) {
    NoSigpipe quiet;
    Deadline deadline(seconds);
    sg_status st = guarded(why, bytes, [&] {
        Forgetting at_the_end(*t);

        t->expect(static_cast<size_t>(n));
        for (int i = 0; i < n; i++) {
            const sg_transfer &m = message[i];
            uint64_t &number = m.receive ? t->received[m.peer] : t->sent[m.peer];

            t->post(m.peer, m.receive, m.data, m.bytes, slot_of(m.bytes, number++));
        }
        t->wait_for_all(deadline, seconds);
    });

    if (st != SG_OK) abort_all(t); // nobody need wait for the rest
    return st;
}

} // namespace

extern "C" const sg_gloo_plugin sg_gloo_functions = {SG_GLOO_VERSION, create, exchange, abort_all,
                                                     destroy};
