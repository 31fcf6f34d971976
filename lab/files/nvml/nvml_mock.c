/*
 * The lab's stand-in for libnvidia-ml.so: it reports the GPUs that a small file describes.
 *
 * NVIDIA's real nvidia-smi and NVIDIA's real container toolkit run against it. The description is built in
 * (h100-550.yaml and its like: flat "key: value" lines), so that the library says the same in every process
 * and container. A test changes a machine by another file at /opt/lab/nvml.yaml, or named by
 * MOCK_NVML_CONFIG; `error: 9` makes nvmlInit fail with that code. Functions that aren't here are weak stubs
 * that make_stubs.py writes from NVIDIA's own header (go-nvml's nvml.h); they answer "not supported".
 */
#define NVML_NO_UNVERSIONED_FUNC_DEFS
#include "nvml.h"
#include "built_in.h"
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_GPUS 16
#define H100_ID 0x233010de /* GH100 [H100 SXM5 80GB] */
#define H100_SUBSYSTEM_ID 0x16c110de
#define EXPORT nvmlReturn_t

struct nvmlDevice_st {
    unsigned int index;
};

static struct {
    int loaded;
    nvmlReturn_t error; /* what nvmlInit answers */
    unsigned int count, cuda_version, cc_major, cc_minor, arch;
    unsigned long long memory_mib, used_mib;
    char driver_version[160], name[160], uuid_prefix[16];
} machine;

static struct nvmlDevice_st devices[MAX_GPUS];

static void set_field(const char *key, const char *value) {
    if (!strcmp(key, "driver_version")) snprintf(machine.driver_version, sizeof machine.driver_version, "%s", value);
    else if (!strcmp(key, "name")) snprintf(machine.name, sizeof machine.name, "%s", value);
    else if (!strcmp(key, "uuid_prefix")) snprintf(machine.uuid_prefix, sizeof machine.uuid_prefix, "%.8s", value);
    else if (!strcmp(key, "cuda_version")) machine.cuda_version = (unsigned)atoi(value);
    else if (!strcmp(key, "error")) machine.error = (nvmlReturn_t)atoi(value);
    else if (!strcmp(key, "count")) machine.count = (unsigned)atoi(value);
    else if (!strcmp(key, "memory_mib")) machine.memory_mib = strtoull(value, NULL, 10);
    else if (!strcmp(key, "used_mib")) machine.used_mib = strtoull(value, NULL, 10);
    else if (!strcmp(key, "architecture")) machine.arch = (unsigned)atoi(value);
    else if (!strcmp(key, "compute_capability")) sscanf(value, "%u.%u", &machine.cc_major, &machine.cc_minor);
}

/* Read the description anew at each nvmlInit, so that a test can change a machine while it runs. */
static EXPORT load(void) {
    static char built_in[] = BUILT_IN;
    const char *path = getenv("MOCK_NVML_CONFIG");
    FILE *file = fopen(path ? path : "/opt/lab/nvml.yaml", "r");
    char line[256], key[64], value[160];
    if (!file) file = fmemopen(built_in, strlen(built_in), "r");
    memset(&machine, 0, sizeof machine);
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, " %63[a-z_] : \"%159[^\"]\"", key, value) == 2 ||
            sscanf(line, " %63[a-z_] : %159[^\n#]", key, value) == 2)
            set_field(key, value);
    if (file) fclose(file);
    if (machine.count > MAX_GPUS) machine.count = MAX_GPUS;
    for (unsigned i = 0; i < MAX_GPUS; i++) devices[i].index = i;
    machine.loaded = machine.error == NVML_SUCCESS;
    return machine.error;
}

static int is_device(const void *handle) {
    uintptr_t at = (uintptr_t)handle, first = (uintptr_t)devices;
    return at >= first && at < first + machine.count * sizeof devices[0] && (at - first) % sizeof devices[0] == 0;
}

#define NEED(device) if (!machine.loaded) return NVML_ERROR_UNINITIALIZED; \
    if (!is_device(device.handle)) return NVML_ERROR_INVALID_ARGUMENT

static EXPORT put(char *to, unsigned int length, const char *text) {
    if (strlen(text) >= length) return NVML_ERROR_INSUFFICIENT_SIZE;
    strcpy(to, text);
    return NVML_SUCCESS;
}

/* Two GPUs to a PCI segment's root, in the order a DGX shows them: 0000:18:00.0, 0000:2A:00.0, ... */
static const unsigned int buses[MAX_GPUS] = {0x18, 0x2a, 0x3a, 0x5d, 0x9a, 0xab, 0xba, 0xdb,
                                             0x19, 0x2b, 0x3b, 0x5e, 0x9b, 0xac, 0xbb, 0xdc};

EXPORT nvmlInit(void) { return load(); }
EXPORT nvmlInit_v2(void) { return load(); }
EXPORT nvmlInitWithFlags(unsigned int flags) { (void)flags; return load(); }
EXPORT nvmlShutdown(void) { return NVML_SUCCESS; }

const char *nvmlErrorString(nvmlReturn_t code) {
    switch (code) {
    case NVML_SUCCESS: return "Success";
    case NVML_ERROR_UNINITIALIZED: return "Uninitialized";
    case NVML_ERROR_INVALID_ARGUMENT: return "Invalid Argument";
    case NVML_ERROR_NOT_SUPPORTED: return "Not Supported";
    case NVML_ERROR_NOT_FOUND: return "Not Found";
    case NVML_ERROR_INSUFFICIENT_SIZE: return "Insufficient Size";
    case NVML_ERROR_DRIVER_NOT_LOADED: return "Driver Not Loaded";
    case NVML_ERROR_LIB_RM_VERSION_MISMATCH: return "Driver/library version mismatch";
    default: return "Unknown Error";
    }
}

EXPORT nvmlSystemGetDriverVersion(char *v, unsigned int n) { return put(v, n, machine.driver_version); }
EXPORT nvmlSystemGetNVMLVersion(char *v, unsigned int n) {
    char text[80];
    snprintf(text, sizeof text, "%u.%s", machine.cuda_version / 1000, machine.driver_version);
    return put(v, n, text);
}
EXPORT nvmlSystemGetCudaDriverVersion(int *v) { *v = (int)machine.cuda_version; return NVML_SUCCESS; }
EXPORT nvmlSystemGetCudaDriverVersion_v2(int *v) { return nvmlSystemGetCudaDriverVersion(v); }

EXPORT nvmlDeviceGetCount_v2(unsigned int *count) { *count = machine.count; return NVML_SUCCESS; }
EXPORT nvmlDeviceGetCount(unsigned int *count) { return nvmlDeviceGetCount_v2(count); }
EXPORT nvmlDeviceGetHandleByIndex_v2(unsigned int index, nvmlDevice_t *device) {
    if (index >= machine.count) return NVML_ERROR_INVALID_ARGUMENT;
    device->handle = &devices[index];
    return NVML_SUCCESS;
}
EXPORT nvmlDeviceGetHandleByIndex(unsigned int index, nvmlDevice_t *device) {
    return nvmlDeviceGetHandleByIndex_v2(index, device);
}
EXPORT nvmlDeviceGetUUID(nvmlDevice_t d, char *uuid, unsigned int length) {
    char text[64];
    NEED(d);
    snprintf(text, sizeof text, "GPU-%s-0000-4000-8000-%012u", machine.uuid_prefix, d.handle->index);
    return put(uuid, length, text);
}
EXPORT nvmlDeviceGetHandleByUUID(const char *uuid, nvmlDevice_t *device) {
    char text[64];
    for (unsigned i = 0; i < machine.count; i++)
        if (nvmlDeviceGetUUID((nvmlDevice_t){&devices[i]}, text, sizeof text) == NVML_SUCCESS && !strcmp(text, uuid)) {
            device->handle = &devices[i];
            return NVML_SUCCESS;
        }
    return NVML_ERROR_NOT_FOUND;
}
EXPORT nvmlDeviceGetHandleByPciBusId_v2(const char *id, nvmlDevice_t *device) {
    unsigned int domain, bus;
    if (sscanf(id, "%x:%x:", &domain, &bus) != 2) return NVML_ERROR_INVALID_ARGUMENT;
    for (unsigned i = 0; i < machine.count; i++)
        if (buses[i] == bus) { device->handle = &devices[i]; return NVML_SUCCESS; }
    return NVML_ERROR_NOT_FOUND;
}
EXPORT nvmlDeviceGetPciInfo_v3(nvmlDevice_t d, nvmlPciInfo_t *pci) {
    NEED(d);
    memset(pci, 0, sizeof *pci);
    pci->bus = buses[d.handle->index];
    pci->pciDeviceId = H100_ID;
    pci->pciSubSystemId = H100_SUBSYSTEM_ID;
    snprintf(pci->busIdLegacy, sizeof pci->busIdLegacy, "0000:%02X:00.0", pci->bus);
    snprintf(pci->busId, sizeof pci->busId, "00000000:%02X:00.0", pci->bus);
    return NVML_SUCCESS;
}
EXPORT nvmlDeviceGetPciInfo_v2(nvmlDevice_t d, nvmlPciInfo_t *pci) { return nvmlDeviceGetPciInfo_v3(d, pci); }
EXPORT nvmlDeviceGetPciInfo(nvmlDevice_t d, nvmlPciInfo_t *pci) { return nvmlDeviceGetPciInfo_v3(d, pci); }
EXPORT nvmlDeviceGetPciInfoExt(nvmlDevice_t d, nvmlPciInfoExt_t *pci) {
    NEED(d);
    pci->domain = pci->device = 0;
    pci->bus = buses[d.handle->index];
    pci->pciDeviceId = H100_ID;
    pci->pciSubSystemId = H100_SUBSYSTEM_ID;
    pci->baseClass = 0x03; /* display controller */
    pci->subClass = 0x02;  /* 3D controller */
    snprintf(pci->busId, sizeof pci->busId, "00000000:%02X:00.0", pci->bus);
    return NVML_SUCCESS;
}
EXPORT nvmlDeviceGetIndex(nvmlDevice_t d, unsigned int *index) { NEED(d); *index = d.handle->index; return NVML_SUCCESS; }
EXPORT nvmlDeviceGetMinorNumber(nvmlDevice_t d, unsigned int *minor) { return nvmlDeviceGetIndex(d, minor); }
EXPORT nvmlDeviceGetName(nvmlDevice_t d, char *name, unsigned int n) { NEED(d); return put(name, n, machine.name); }
EXPORT nvmlDeviceGetSerial(nvmlDevice_t d, char *serial, unsigned int length) {
    char text[16];
    NEED(d);
    snprintf(text, sizeof text, "165%010u", d.handle->index);
    return put(serial, length, text);
}
EXPORT nvmlDeviceGetBrand(nvmlDevice_t d, nvmlBrandType_t *brand) { NEED(d); *brand = NVML_BRAND_NVIDIA; return NVML_SUCCESS; }
EXPORT nvmlDeviceGetArchitecture(nvmlDevice_t d, nvmlDeviceArchitecture_t *arch) { NEED(d); *arch = machine.arch; return NVML_SUCCESS; }
EXPORT nvmlDeviceGetCudaComputeCapability(nvmlDevice_t d, int *major, int *minor) {
    NEED(d);
    *major = (int)machine.cc_major;
    *minor = (int)machine.cc_minor;
    return NVML_SUCCESS;
}
EXPORT nvmlDeviceGetMemoryInfo(nvmlDevice_t d, nvmlMemory_t *memory) {
    NEED(d);
    memory->total = machine.memory_mib << 20;
    memory->used = machine.used_mib << 20;
    memory->free = memory->total - memory->used;
    return NVML_SUCCESS;
}
EXPORT nvmlDeviceGetMemoryInfo_v2(nvmlDevice_t d, nvmlMemory_v2_t *memory) {
    NEED(d);
    memory->total = machine.memory_mib << 20;
    memory->reserved = 0;
    memory->used = machine.used_mib << 20;
    memory->free = memory->total - memory->used;
    return NVML_SUCCESS;
}
EXPORT nvmlDeviceGetMigMode(nvmlDevice_t d, unsigned int *current, unsigned int *pending) {
    NEED(d);
    *current = *pending = NVML_DEVICE_MIG_DISABLE;
    return NVML_SUCCESS;
}
EXPORT nvmlDeviceGetMaxMigDeviceCount(nvmlDevice_t d, unsigned int *count) { NEED(d); *count = 0; return NVML_SUCCESS; }
EXPORT nvmlDeviceIsMigDeviceHandle(nvmlDevice_t d, unsigned int *answer) { NEED(d); *answer = 0; return NVML_SUCCESS; }
EXPORT nvmlDeviceGetPersistenceMode(nvmlDevice_t d, nvmlEnableState_t *mode) { NEED(d); *mode = NVML_FEATURE_ENABLED; return NVML_SUCCESS; }
EXPORT nvmlDeviceGetComputeMode(nvmlDevice_t d, nvmlComputeMode_t *mode) { NEED(d); *mode = NVML_COMPUTEMODE_DEFAULT; return NVML_SUCCESS; }
EXPORT nvmlDeviceGetPerformanceState(nvmlDevice_t d, nvmlPstates_t *state) { NEED(d); *state = NVML_PSTATE_0; return NVML_SUCCESS; }
EXPORT nvmlDeviceGetTemperature(nvmlDevice_t d, nvmlTemperatureSensors_t s, unsigned int *t) { (void)s; NEED(d); *t = 31; return NVML_SUCCESS; }
EXPORT nvmlDeviceGetPowerUsage(nvmlDevice_t d, unsigned int *milliwatts) { NEED(d); *milliwatts = 71000; return NVML_SUCCESS; }
EXPORT nvmlDeviceGetEnforcedPowerLimit(nvmlDevice_t d, unsigned int *milliwatts) { NEED(d); *milliwatts = 700000; return NVML_SUCCESS; }
EXPORT nvmlDeviceGetUtilizationRates(nvmlDevice_t d, nvmlUtilization_t *u) { NEED(d); u->gpu = u->memory = 0; return NVML_SUCCESS; }
EXPORT nvmlDeviceGetComputeRunningProcesses_v3(nvmlDevice_t d, unsigned int *count, nvmlProcessInfo_t *list) {
    (void)list;
    NEED(d);
    *count = 0;
    return NVML_SUCCESS;
}
EXPORT nvmlDeviceGetGraphicsRunningProcesses_v3(nvmlDevice_t d, unsigned int *count, nvmlProcessInfo_t *list) {
    return nvmlDeviceGetComputeRunningProcesses_v3(d, count, list);
}

EXPORT nvmlEventSetCreate(nvmlEventSet_t *set) { set->handle = (struct nvmlEventSet_st *)devices; return NVML_SUCCESS; }
EXPORT nvmlEventSetFree(nvmlEventSet_t set) { (void)set; return NVML_SUCCESS; }

/*
 * nvidia-smi also goes through an undocumented table of functions. What it needs of it: the device of an
 * index (an index below 32, a place for the handle, the constant 0x22), and lists of a device, which are empty.
 */
static EXPORT internal(void *a, void *b, void *c) {
    if ((uintptr_t)a < 32 && (uintptr_t)c == 0x22 && b) return nvmlDeviceGetHandleByIndex_v2((unsigned)(uintptr_t)a, b);
    if ((uintptr_t)b > 0xffff && is_device(a)) *(unsigned int *)b = 0;
    return NVML_SUCCESS;
}

EXPORT nvmlInternalGetExportTable(const void **table, const unsigned char *id) {
    static const unsigned char known[4] = {0xc4, 0xfe, 0x3e, 0x6c};
    static void *slots[512];
    if (memcmp(id, known, sizeof known)) return NVML_ERROR_NOT_SUPPORTED;
    slots[0] = (void *)sizeof slots;
    for (unsigned i = 1; i < 512; i++) slots[i] = (void *)internal;
    *table = slots;
    return NVML_SUCCESS;
}
