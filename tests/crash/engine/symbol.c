/* SPDX-License-Identifier: Apache-2.0 */
/* Names for addresses, static functions included. */
#include "engine.h"

#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct file {
    const char *start;
    size_t size;
};

static struct file image;
static uint64_t image_base;

static struct file
file_map(const char *path)
{
    struct file file = {NULL, 0};
    struct stat status;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return file;
    if (fstat(fd, &status) == 0 &&
        (size_t)status.st_size >= sizeof(ElfW(Ehdr))) {
        file.size = (size_t)status.st_size;
        file.start = mmap(NULL, file.size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (file.start == MAP_FAILED)
            file.start = NULL;
    }
    close(fd);
    if (file.start != NULL && memcmp(file.start, ELFMAG, SELFMAG) != 0) {
        munmap((void *)(uintptr_t)file.start, file.size);
        file.start = NULL;
    }
    return file;
}

/* The first section of a type. */
static const ElfW(Shdr) * file_section(const struct file *file, uint32_t type)
{
    const ElfW(Ehdr) *header = (const void *)file->start;
    const ElfW(Shdr) * sections;
    unsigned i;

    if (file->start == NULL)
        return NULL;
    sections = (const void *)(file->start + header->e_shoff);
    for (i = 0; i < header->e_shnum; i++)
        if (sections[i].sh_type == type)
            return &sections[i];
    return NULL;
}

static const char *
symbol_text(const struct file *file, const ElfW(Shdr) * table,
            const ElfW(Sym) * symbol)
{
    const ElfW(Ehdr) *header = (const void *)file->start;
    const ElfW(Shdr) *sections = (const void *)(file->start + header->e_shoff);

    return file->start + sections[table->sh_link].sh_offset + symbol->st_name;
}

static int
first_object(struct dl_phdr_info *info, size_t size, void *context)
{
    (void)size;
    (void)context;
    image_base = info->dlpi_addr;
    return 1;
}

static const char *
in_image(uint64_t address, uint64_t *offset)
{
    const ElfW(Shdr) *table = file_section(&image, SHT_SYMTAB);
    const ElfW(Sym) * symbols;
    size_t i;

    if (table == NULL)
        return NULL;
    symbols = (const void *)(image.start + table->sh_offset);
    for (i = 0; i < table->sh_size / sizeof(*symbols); i++) {
        uint64_t start = symbols[i].st_value + image_base;

        if ((symbols[i].st_info & 0xf) != STT_FUNC || address < start ||
            address >= start + symbols[i].st_size)
            continue;
        *offset = address - start;
        return symbol_text(&image, table, &symbols[i]);
    }
    return NULL;
}

void
symbol_name(uint64_t address, char *text, size_t size)
{
    uint64_t offset = 0;
    const char *name;
    Dl_info info;

    if (image.start == NULL) {
        image = file_map("/proc/self/exe");
        dl_iterate_phdr(first_object, NULL);
    }
    name = in_image(address, &offset);
    if (name != NULL)
        snprintf(text, size, "%s+0x%lx", name, (unsigned long)offset);
    else if (dladdr((const void *)address, &info) != 0 &&
             info.dli_fname != NULL)
        snprintf(text, size, "%s+0x%lx (%s)",
                 info.dli_sname != NULL ? info.dli_sname : "?",
                 (unsigned long)(address - (uint64_t)(info.dli_sname != NULL
                                                          ? info.dli_saddr
                                                          : info.dli_fbase)),
                 strrchr(info.dli_fname, '/') != NULL
                     ? strrchr(info.dli_fname, '/') + 1
                     : info.dli_fname);
    else
        snprintf(text, size, "0x%lx", (unsigned long)address);
}

bool
exported_functions(const char *path,
                   void (*each)(const char *name, void *context), void *context)
{
    struct file file = file_map(path);
    const ElfW(Shdr) *table = file_section(&file, SHT_DYNSYM);
    const ElfW(Sym) * symbols;
    size_t i;

    if (table == NULL)
        return false;
    symbols = (const void *)(file.start + table->sh_offset);
    for (i = 0; i < table->sh_size / sizeof(*symbols); i++)
        if ((symbols[i].st_info & 0xf) == STT_FUNC &&
            symbols[i].st_shndx != SHN_UNDEF)
            each(symbol_text(&file, table, &symbols[i]), context);
    munmap((void *)(uintptr_t)file.start, file.size);
    return true;
}
