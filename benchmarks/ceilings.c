// What this machine can do at most, for the floors that the results are compared with.
// cc -O3 -march=native -ffp-contract=fast -pthread ceilings.c -o ceilings -lm ; ceilings THREADS
// Prints one JSON object: peak of float32 multiply-adds kept in registers (GFLOP/s) with one thread and with THREADS,
// and memory bandwidth (GB/s, bytes read plus bytes written): copy, copy past the cache, triad, read, each for several
// sizes. Vectors are GCC's/Clang's own, so one source serves x86-64 and arm64.
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#if defined(__AVX512F__)
#define WIDTH 64
#elif defined(__AVX__)
#define WIDTH 32
#else
#define WIDTH 16
#endif
#define LANES (WIDTH / 4)
typedef float vec __attribute__((vector_size(WIDTH)));

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec * 1e-9;
}

// A job is cut into equal parts, one a thread; every thread does it `repeats` times and the caller times the whole.
enum kind { FMA, COPY, STREAM, TRIAD, READ };
struct job {
  enum kind kind;
  long repeats;
  vec *a, *b, *c;
  size_t from, to; // in vectors
  float sink;
};

static float fma_loop(long count) {
#if LANES == 16
#define NUMBER 24
#else
#define NUMBER 12
#endif
  vec x[NUMBER], m, d;
  for (int l = 0; l < LANES; l++) m[l] = 0.999f, d[l] = 0.001f;
  for (int i = 0; i < NUMBER; i++)
    for (int l = 0; l < LANES; l++) x[i][l] = i * 0.1f;
  for (long k = 0; k < count; k++) {
#pragma GCC unroll 32
    for (int i = 0; i < NUMBER; i++) x[i] = x[i] * m + d;
  }
  float s = 0;
  for (int i = 0; i < NUMBER; i++)
    for (int l = 0; l < LANES; l++) s += x[i][l];
  return s;
}

static void store_past_cache(vec *to, vec value) {
#if defined(__AVX512F__) && __has_builtin(__builtin_ia32_movntps512)
  __builtin_ia32_movntps512((float *)to, value);
#elif defined(__AVX__) && __has_builtin(__builtin_ia32_movntps256)
  __builtin_ia32_movntps256((float *)to, value);
#elif defined(__clang__)
  __builtin_nontemporal_store(value, to);
#else
  *to = value;
#endif
}

static void *work(void *argument) {
  struct job *j = argument;
  if (j->kind == FMA) {
    j->sink = fma_loop(j->repeats);
    return NULL;
  }
  vec factor, sum[4];
  memset(sum, 0, sizeof sum);
  for (int l = 0; l < LANES; l++) factor[l] = 1.5f;
  for (long r = 0; r < j->repeats; r++) {
    size_t i = j->from;
    switch (j->kind) {
    case COPY:
      for (; i < j->to; i++) {
        j->a[i] = j->b[i];
        __asm__ volatile("" ::: "memory"); // keep the loop: a library's copy may store past the cache
      }
      break;
    case STREAM:
      for (; i < j->to; i++) store_past_cache(&j->a[i], j->b[i]);
      break;
    case TRIAD:
      for (; i < j->to; i++) j->a[i] = j->b[i] + factor * j->c[i];
      break;
    default:
      for (; i + 4 <= j->to; i += 4)
        for (int k = 0; k < 4; k++) sum[k] += j->b[i + k];
    }
    __asm__ volatile("" ::: "memory");
  }
  j->sink = sum[0][0] + sum[1][0] + sum[2][0] + sum[3][0];
  return NULL;
}

static volatile float sink;

static double run(struct job model, int threads, size_t vectors) {
  pthread_t id[256];
  struct job jobs[256];
  double start = now();
  for (int t = 0; t < threads; t++) {
    jobs[t] = model;
    jobs[t].from = vectors * t / threads;
    jobs[t].to = vectors * (t + 1) / threads;
    if (t) pthread_create(&id[t], NULL, work, &jobs[t]);
  }
  work(&jobs[0]);
  for (int t = 0; t < threads; t++) {
    if (t) pthread_join(id[t], NULL);
    sink += jobs[t].sink;
  }
  return now() - start;
}

static double fma_peak(int threads) {
  double best = 0;
  long count = 4000000;
  for (int r = 0; r < 8; r++) {
    double seconds = run((struct job){.kind = FMA, .repeats = count}, threads, 0);
    double rate = 2.0 * NUMBER * LANES * count * threads / seconds * 1e-9;
    if (rate > best) best = rate;
  }
  return best;
}

static double bandwidth(enum kind kind, int threads, vec *memory, size_t values, size_t most) {
  size_t vectors = values / LANES, apart = most / LANES;
  struct job j = {.kind = kind, .a = memory, .b = memory + apart, .c = memory + 2 * apart};
  double bytes = values * (kind == TRIAD ? 12.0 : kind == READ ? 4.0 : 8.0), best = 0;
  j.repeats = 1 + (long)(1.5e8 / bytes);
  for (int r = 0; r < 9; r++) {
    double rate = bytes * j.repeats / run(j, threads, vectors) * 1e-9;
    if (r && rate > best) best = rate; // the first round touches the pages
  }
  return best;
}

int main(int argc, char **argv) {
  int threads = argc > 1 ? atoi(argv[1]) : 1;
  if (threads < 1 || threads > 256) return 2;
  static const size_t sizes[] = {4096u * 1000, 8192u * 1024, 16u << 20}; // float32 values: those of the workloads
  const size_t most = 16u << 20;
  vec *memory = aligned_alloc(1 << 21, most * 12);
  if (!memory) return 1;
  memset(memory, 0, most * 12);
  printf("{\"vector_bytes\": %d, \"peak_gflops_1\": %.2f, \"peak_gflops\": %.2f", WIDTH, fma_peak(1), fma_peak(threads));
  static const char *names[] = {"copy", "stream", "triad", "read"};
  for (int k = 0; k < 4; k++)
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
      printf(", \"%s_gbs_%zu\": %.2f", names[k], sizes[s],
             bandwidth((enum kind[]){COPY, STREAM, TRIAD, READ}[k], threads, memory, sizes[s], most));
  printf("}\n");
  free(memory);
  return 0;
}
