/* A stand-in for libnvidia-ml.so.1: the few calls that pool-lifecycle's probe makes, answered from a file.
 *
 * The file that POOL_NVML_STUB names is read anew at every call, so that whoever writes it changes the GPUs of
 * a program that runs. Its lines:
 *
 *     driver VERSION CUDA                      CUDA as the library tells it: 12040 for 12.4
 *     fn NAME CODE|hang|none                   that function fails with CODE, never returns, or is not there
 *     gpu UUID PCI MAJOR MINOR TOTAL FREE UTIL TEMP MILLIWATTS ECC THROTTLE LOST MIG NAME...
 *     mig PARENT UUID TOTAL FREE NAME...
 *     proc UUID PID BYTES|-1 c|g
 *     event NUMBER UUID TYPE DATA              told once to every event set that was made before it
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OK 0
#define NOT_INITIALISED 1
#define INVALID 2
#define NOT_SUPPORTED 3
#define NOT_FOUND 6
#define TOO_SMALL 7
#define TIMEOUT 10
#define NO_FUNCTION 13
#define LOST 15
#define MOST 64

typedef struct {
    char uuid[96], pci[32], name[96], parent[96];
    int major, minor, mig, lost;
    unsigned util, temperature, power;
    unsigned long long total, free, ecc, throttle;
} Gpu;
typedef struct { char uuid[96]; unsigned pid; long long bytes; char kind; } Process;
typedef struct { unsigned long long number, type, data; char uuid[96]; } Event;
typedef struct { char name[96], what[16]; } Fault;
typedef struct {
    Gpu gpus[MOST], migs[MOST];
    Process processes[MOST];
    Event events[MOST];
    Fault faults[MOST];
    int gpu_count, mig_count, process_count, event_count, fault_count, cuda;
    char driver[64];
} State;

/* handles are names that live for ever: a GPU keeps its handle whatever becomes of it */
static char names[MOST * 2][96];
static int name_count;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void *handle_of(const char *uuid) {
    pthread_mutex_lock(&lock);
    int i = 0;
    while (i < name_count && strcmp(names[i], uuid)) i++;
    if (i == name_count && name_count < MOST * 2) strcpy(names[name_count++], uuid);
    pthread_mutex_unlock(&lock);
    return names[i];
}

static void read_state(State *state) {
    memset(state, 0, sizeof *state);
    const char *path = getenv("POOL_NVML_STUB");
    FILE *file = path ? fopen(path, "r") : NULL;
    if (!file) return;
    char line[512];
    while (fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = 0;
        Gpu *gpu = &state->gpus[state->gpu_count], *mig = &state->migs[state->mig_count];
        Process *process = &state->processes[state->process_count];
        Event *event = &state->events[state->event_count];
        Fault *fault = &state->faults[state->fault_count];
        if (sscanf(line, "gpu %95s %31s %d %d %llu %llu %u %u %u %llu %llu %d %d %95[^\n]", gpu->uuid, gpu->pci,
                   &gpu->major, &gpu->minor, &gpu->total, &gpu->free, &gpu->util, &gpu->temperature, &gpu->power,
                   &gpu->ecc, &gpu->throttle, &gpu->lost, &gpu->mig, gpu->name) == 14) {
            if (state->gpu_count < MOST - 1) state->gpu_count++;
        } else if (sscanf(line, "mig %95s %95s %llu %llu %95[^\n]", mig->parent, mig->uuid, &mig->total,
                          &mig->free, mig->name) == 5) {
            if (state->mig_count < MOST - 1) state->mig_count++;
        } else if (sscanf(line, "proc %95s %u %lld %c", process->uuid, &process->pid, &process->bytes,
                          &process->kind) == 4) {
            if (state->process_count < MOST - 1) state->process_count++;
        } else if (sscanf(line, "event %llu %95s %llu %llu", &event->number, event->uuid, &event->type,
                          &event->data) == 4) {
            if (state->event_count < MOST - 1) state->event_count++;
        } else if (sscanf(line, "fn %95s %15s", fault->name, fault->what) == 2) {
            if (state->fault_count < MOST - 1) state->fault_count++;
        } else
            sscanf(line, "driver %63s %d", state->driver, &state->cuda);
    }
    fclose(file);
}

/* what the file says of a function; it never returns from one that hangs until the file says otherwise */
static int begin(const char *function, State *state) {
    for (;;) {
        read_state(state);
        int hangs = 0;
        for (int i = 0; i < state->fault_count; i++) {
            if (strcmp(state->faults[i].name, function)) continue;
            if (!strcmp(state->faults[i].what, "none")) return NO_FUNCTION;
            if (strcmp(state->faults[i].what, "hang")) return atoi(state->faults[i].what);
            hangs = 1;
        }
        if (!hangs) return OK;
        usleep(20000);
    }
}

static int find(State *state, void *handle, Gpu **found) {
    for (int i = 0; i < state->gpu_count; i++)
        if (!strcmp(state->gpus[i].uuid, handle)) {
            *found = &state->gpus[i];
            return state->gpus[i].lost ? LOST : OK;
        }
    for (int i = 0; i < state->mig_count; i++)
        if (!strcmp(state->migs[i].uuid, handle)) return *found = &state->migs[i], OK;
    return LOST;
}

#define BEGIN(function) \
    State *state = malloc(sizeof(State)); \
    int code = begin(function, state);
#define END { free(state); return code; }
#define ON_GPU(function) \
    BEGIN(function) \
    Gpu *gpu = NULL; \
    if (!code) code = find(state, device, &gpu); \
    if (code) END
#define IS_MIG (gpu->parent[0] != 0)

int nvmlInitWithFlags(unsigned flags) { (void)flags; BEGIN("nvmlInit_v2") END }
int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
int nvmlShutdown(void) { BEGIN("nvmlShutdown") END }
const char *nvmlErrorString(int code) {
    return code == LOST ? "GPU is lost" : code == 9 ? "Driver Not Loaded" : "stubbed error";
}
int nvmlSystemGetDriverVersion(char *text, unsigned length) {
    BEGIN("nvmlSystemGetDriverVersion")
    if (!code) snprintf(text, length, "%s", state->driver);
    END
}
int nvmlSystemGetCudaDriverVersion_v2(int *version) {
    BEGIN("nvmlSystemGetCudaDriverVersion_v2")
    *version = state->cuda;
    END
}
int nvmlSystemGetCudaDriverVersion(int *version) { return nvmlSystemGetCudaDriverVersion_v2(version); }
int nvmlDeviceGetCount_v2(unsigned *count) {
    BEGIN("nvmlDeviceGetCount_v2")
    *count = state->gpu_count;
    END
}
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device) {
    BEGIN("nvmlDeviceGetHandleByIndex_v2")
    if (!code && index >= (unsigned)state->gpu_count) code = INVALID;
    if (!code) *device = handle_of(state->gpus[index].uuid);
    if (!code && state->gpus[index].lost) code = LOST;
    END
}
int nvmlDeviceGetUUID(void *device, char *text, unsigned length) {
    ON_GPU("nvmlDeviceGetUUID")
    snprintf(text, length, "%s", gpu->uuid);
    END
}
int nvmlDeviceGetName(void *device, char *text, unsigned length) {
    ON_GPU("nvmlDeviceGetName")
    snprintf(text, length, "%s", gpu->name);
    END
}
typedef struct { char legacy[16]; unsigned domain, bus, device, id, subsystem; char bus_id[32]; } Pci;
int nvmlDeviceGetPciInfo_v3(void *device, Pci *pci) {
    ON_GPU("nvmlDeviceGetPciInfo_v3")
    memset(pci, 0, sizeof *pci);
    snprintf(pci->bus_id, sizeof pci->bus_id, "%s", gpu->pci);
    END
}
typedef struct { unsigned long long total, free, used; } Memory;
int nvmlDeviceGetMemoryInfo(void *device, Memory *memory) {
    ON_GPU("nvmlDeviceGetMemoryInfo")
    memory->total = gpu->total, memory->free = gpu->free, memory->used = gpu->total - gpu->free;
    END
}
typedef struct { unsigned gpu, memory; } Utilisation;
int nvmlDeviceGetUtilizationRates(void *device, Utilisation *rates) {
    ON_GPU("nvmlDeviceGetUtilizationRates")
    if (IS_MIG) code = NOT_SUPPORTED;
    rates->gpu = gpu->util, rates->memory = 0;
    END
}
int nvmlDeviceGetTemperature(void *device, int sensor, unsigned *degrees) {
    (void)sensor;
    ON_GPU("nvmlDeviceGetTemperature")
    *degrees = gpu->temperature;
    END
}
int nvmlDeviceGetPowerUsage(void *device, unsigned *milliwatts) {
    ON_GPU("nvmlDeviceGetPowerUsage")
    *milliwatts = gpu->power;
    END
}
int nvmlDeviceGetTotalEccErrors(void *device, int type, int counter, unsigned long long *count) {
    (void)type, (void)counter;
    ON_GPU("nvmlDeviceGetTotalEccErrors")
    *count = gpu->ecc;
    END
}
int nvmlDeviceGetCudaComputeCapability(void *device, int *major, int *minor) {
    ON_GPU("nvmlDeviceGetCudaComputeCapability")
    *major = gpu->major, *minor = gpu->minor;
    END
}
int nvmlDeviceGetCurrentClocksThrottleReasons(void *device, unsigned long long *reasons) {
    ON_GPU("nvmlDeviceGetCurrentClocksThrottleReasons")
    *reasons = gpu->throttle;
    END
}
int nvmlDeviceGetMigMode(void *device, unsigned *current, unsigned *pending) {
    ON_GPU("nvmlDeviceGetMigMode")
    if (IS_MIG) code = NOT_SUPPORTED;
    *current = *pending = gpu->mig;
    END
}
int nvmlDeviceGetMaxMigDeviceCount(void *device, unsigned *count) {
    ON_GPU("nvmlDeviceGetMaxMigDeviceCount")
    *count = gpu->mig ? 7 : 0;
    END
}
int nvmlDeviceGetMigDeviceHandleByIndex(void *device, unsigned index, void **instance) {
    ON_GPU("nvmlDeviceGetMigDeviceHandleByIndex")
    code = NOT_FOUND;
    for (int i = 0; i < state->mig_count; i++)
        if (!strcmp(state->migs[i].parent, gpu->uuid) && !index--) {
            *instance = handle_of(state->migs[i].uuid), code = OK;
            break;
        }
    END
}
typedef struct { unsigned pid; unsigned long long memory; unsigned gpu_instance, compute_instance; } Running;
static int running(const char *function, void *device, char kind, unsigned *count, Running *list) {
    ON_GPU(function)
    unsigned found = 0;
    for (int i = 0; i < state->process_count; i++) {
        Process *one = &state->processes[i];
        if (strcmp(one->uuid, gpu->uuid) || one->kind != kind) continue;
        if (list && found < *count) {
            memset(&list[found], 0xff, sizeof *list);
            list[found].pid = one->pid;
            list[found].memory = one->bytes < 0 ? ~0ULL : (unsigned long long)one->bytes;
        }
        found++;
    }
    if (found > *count || (found && !list)) code = TOO_SMALL;
    *count = found;
    END
}
int nvmlDeviceGetComputeRunningProcesses_v3(void *device, unsigned *count, Running *list) {
    return running("nvmlDeviceGetComputeRunningProcesses_v3", device, 'c', count, list);
}
int nvmlDeviceGetGraphicsRunningProcesses_v3(void *device, unsigned *count, Running *list) {
    return running("nvmlDeviceGetGraphicsRunningProcesses_v3", device, 'g', count, list);
}
typedef struct { unsigned long long told; char uuids[MOST][96]; int count; } Set;
int nvmlEventSetCreate(Set **set) {
    BEGIN("nvmlEventSetCreate")
    if (!code) {
        *set = calloc(1, sizeof **set);
        for (int i = 0; i < state->event_count; i++)
            if (state->events[i].number > (*set)->told) (*set)->told = state->events[i].number;
    }
    END
}
int nvmlEventSetFree(Set *set) {
    free(set);
    return OK;
}
int nvmlDeviceGetSupportedEventTypes(void *device, unsigned long long *types) {
    ON_GPU("nvmlDeviceGetSupportedEventTypes")
    *types = 0x1f;
    END
}
int nvmlDeviceRegisterEvents(void *device, unsigned long long types, Set *set) {
    (void)types;
    ON_GPU("nvmlDeviceRegisterEvents")
    if (set->count < MOST) strcpy(set->uuids[set->count++], gpu->uuid);
    END
}
typedef struct { void *device; unsigned long long type, data; unsigned gpu_instance, compute_instance; } Data;
int nvmlEventSetWait_v2(Set *set, Data *data, unsigned milliseconds) {
    for (unsigned waited = 0;; waited += 10) {
        BEGIN("nvmlEventSetWait_v2")
        if (code) END
        for (int i = 0; i < state->event_count; i++) {
            Event *one = &state->events[i];
            int mine = 0;
            for (int j = 0; j < set->count; j++) mine |= !strcmp(set->uuids[j], one->uuid);
            if (!mine || one->number <= set->told) continue;
            set->told = one->number;
            memset(data, 0xff, sizeof *data);
            data->device = handle_of(one->uuid), data->type = one->type, data->data = one->data;
            END
        }
        free(state);
        if (waited >= milliseconds) return TIMEOUT;
        usleep(10000);
    }
}
