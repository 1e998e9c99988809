/* A stand-in for libnvidia-ml.so.1, for tests with the real nvidia-ml-py.

   Compiled with -DOLD_DRIVER it lacks the functions that came late. The environment decides:
     STUB_GPUS=n          how many GPUs (2)
     STUB_UNSUPPORTED=... names of functions that answer "not supported", after nvmlDevice
     STUB_LOST=i          GPU i is lost
     STUB_LOST_AFTER=n    ... but only from its n-th sample on
     STUB_INIT=code       what starting answers (0)
     STUB_NAME=...        what the GPUs are called
     STUB_CAPABILITY=70   their compute capability
     STUB_CUDA=12020      the newest CUDA that the driver is for
     STUB_MIG=i           GPU i is split into two MIG devices */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SUCCESS = 0, INVALID = 2, NOT_SUPPORTED = 3, LOST = 15, MOST_GPUS = 16 };

typedef int result;
typedef struct { int index, samples; uint64_t energy; } gpu_state;
typedef gpu_state *gpu;

static gpu_state gpus[MOST_GPUS];

static int number(const char *name, int otherwise) {
    const char *value = getenv(name);
    return value ? atoi(value) : otherwise;
}

static int listed(const char *name) {
    const char *list = getenv("STUB_UNSUPPORTED");
    return list && strstr(list, name) != NULL;
}

static result answer(gpu device, const char *name) {
    if (device->index == number("STUB_LOST", -1) &&
        device->samples >= number("STUB_LOST_AFTER", 0))
        return LOST;
    return listed(name) ? NOT_SUPPORTED : SUCCESS;
}

#define QUERY(name, ...)                                                                 \
    result nvmlDevice##name(gpu device, __VA_ARGS__) {                                   \
        result outcome = answer(device, #name);                                          \
        if (outcome != SUCCESS) return outcome;
#define END return SUCCESS; }

result nvmlInitWithFlags(unsigned flags) { (void)flags; return number("STUB_INIT", SUCCESS); }
result nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
result nvmlShutdown(void) { return SUCCESS; }
const char *nvmlErrorString(result code) { return code ? "Stub error" : "Success"; }

result nvmlSystemGetDriverVersion(char *text, unsigned length) {
    snprintf(text, length, "535.183.01");
    return SUCCESS;
}

result nvmlSystemGetCudaDriverVersion_v2(int *version) {
    *version = number("STUB_CUDA", 12020);
    return SUCCESS;
}

result nvmlDeviceGetCount_v2(unsigned *count) {
    *count = (unsigned)number("STUB_GPUS", 2);
    return SUCCESS;
}

result nvmlDeviceGetHandleByIndex_v2(unsigned index, gpu *device) {
    if (index >= (unsigned)number("STUB_GPUS", 2)) return INVALID;
    *device = &gpus[index];
    gpus[index].index = (int)index;
    return SUCCESS;
}

QUERY(GetName, char *text, unsigned length)
    const char *given = getenv("STUB_NAME");
    snprintf(text, length, "%s", given ? given : "Tesla V100-SXM3-32GB");
END

QUERY(GetCudaComputeCapability, int *major, int *minor)
    *major = number("STUB_CAPABILITY", 70) / 10;
    *minor = number("STUB_CAPABILITY", 70) % 10;
END

QUERY(GetUUID, char *text, unsigned length)
    const char *kind = device->index < 100 ? "GPU" : "MIG";
    snprintf(text, length, "%s-00000000-0000-0000-0000-%012d", kind, device->index);
END

/* MIG: the first two of up to seven places are taken, by devices of their own handles. */
static gpu_state parts[2];
QUERY(GetMigMode, unsigned *current, unsigned *pending)
    *current = *pending = device->index == number("STUB_MIG", -1);
END
QUERY(GetMaxMigDeviceCount, unsigned *count) *count = 7; END
QUERY(GetMigDeviceHandleByIndex, unsigned place, gpu *part)
    if (place > 1) return INVALID;
    parts[place].index = 100 + (int)place;
    *part = &parts[place];
END

typedef struct { unsigned gpu, memory; } utilization;
QUERY(GetUtilizationRates, utilization *use)
    if (device->index == number("STUB_MIG", -1)) return NOT_SUPPORTED;
    use->gpu = 90 + (unsigned)device->index;
    use->memory = 60;
    device->samples++;
END

typedef struct { unsigned long long total, free, used; } memory_v1;
QUERY(GetMemoryInfo, memory_v1 *memory)
    memory->total = 32768ull << 20;
    memory->used = 1500ull << 20;
    memory->free = memory->total - memory->used;
END

QUERY(GetClockInfo, int kind, unsigned *clock) *clock = kind == 1 ? 1597 : 958; END
QUERY(GetPowerUsage, unsigned *milliwatts) *milliwatts = 312500; END
QUERY(GetEnforcedPowerLimit, unsigned *milliwatts) *milliwatts = 350000; END
QUERY(GetTemperature, int sensor, unsigned *degrees) (void)sensor; *degrees = 58; END
QUERY(GetPerformanceState, int *state) *state = 0; END
QUERY(GetPcieThroughput, int counter, unsigned *kib) *kib = counter ? 2000 : 1000; END
QUERY(GetCurrentClocksThrottleReasons, unsigned long long *mask) *mask = 4; END

#ifndef OLD_DRIVER
typedef struct { unsigned version; unsigned long long total, reserved, free, used; } memory_v2;
QUERY(GetMemoryInfo_v2, memory_v2 *memory)
    memory->total = 32768ull << 20;
    memory->reserved = 500ull << 20;
    memory->used = 1000ull << 20;
    memory->free = memory->total - memory->used - memory->reserved;
END

QUERY(GetTotalEnergyConsumption, unsigned long long *millijoules)
    *millijoules = 1000000ull + (device->energy += 5000);
END

QUERY(GetCurrentClocksEventReasons, unsigned long long *mask) *mask = 1 | 4 | 0x40; END

typedef struct {
    unsigned field, scope;
    int64_t timestamp, latency;
    int kind, outcome;
    union { unsigned small; unsigned long long large; } value;
} field_value;
QUERY(GetFieldValues, int count, field_value *values)
    for (field_value *each = values; each < values + count; each++) {
        int pcie = each->field == 197 || each->field == 198;
        int nvlink = (each->field == 138 || each->field == 139) && each->scope == 0xFFFFFFFFu;
        each->outcome = SUCCESS;
        each->kind = pcie ? 1 : 3;
        if (pcie && !listed("PcieCounters")) each->value.small = 7000 + each->field;
        else if (nvlink && !listed("NvLink")) each->value.large = 5ull << 30;
        else each->outcome = NOT_SUPPORTED;
    }
END
#endif
