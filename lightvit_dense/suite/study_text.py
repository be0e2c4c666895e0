"""The words of the small-scale study's page that no result changes."""

TITLE = "# Do the papers' findings hold in small?"

INTRO = """\
The papers pre-train ViT-Tiny for 400 epochs of ImageNet-1k on eight GPUs. This page asks which of
their findings appear with networks, images and a budget that fit on two cores, and says plainly
which do not. It is written by `tools/analysis_tools/write_study.py` from the files of results, and
nothing in it is typed by hand but the words."""

RULES = """\
Where seeds were run, two initialisations are compared seed by seed: the same labels, the same
order of images, the same recipe. What counts is the 95% t interval of the mean difference, in
square brackets below. An initialisation is *better* where the whole interval is above zero,
*worse* where it is below, and else it is *unclear*. A statement over several tasks **appears** if
it is better on at least one and worse on none, **does not appear** if it is the other way round,
and is **undecided** else. Three seeds make wide intervals, the mean ± 2.5 deviations, so that much
stays undecided; on the other hand, nothing is corrected for the number of comparisons, and by
chance alone one in forty would be called better.

Analyses look into one pre-training of each kind, so that there is no spread to judge by: a
difference counts if it exceeds a margin that was set beforehand. What was not run, failed, or is
still running makes a finding **not run**."""

STUDENT = dict(embed_dim=128, depth=6, num_heads=4)
TEACHER = dict(embed_dim=192, depth=6, num_heads=6)
CROP, PATCH, BATCH = 64, 8, 128
"""What the next table says of the toy world's configs."""

SCALE = (
    ('', 'papers', 'here'),
    (
        'student',
        'ViT-Tiny: 12 blocks of width 192, 12 heads, 224 px in 16-px patches',
        f'{STUDENT["depth"]} blocks of width {STUDENT["embed_dim"]}, {STUDENT["num_heads"]} heads, '
        f'{CROP} px in {PATCH}-px patches, 1.2 M parameters',
    ),
    (
        'teacher',
        'ViT-Base by MAE, 1600 epochs',
        f'{TEACHER["depth"]} blocks of width {TEACHER["embed_dim"]}, {TEACHER["num_heads"]} heads, '
        '2.7 M parameters, by MAE, trained no longer than the student',
    ),
    (
        'images of pre-training',
        '1.28 M photographs of ImageNet-1k',
        '3000 pictures of six kinds of objects on photographs, composed by a program',
    ),
    (
        'length of pre-training',
        '400 epochs in batches of 4096',
        f'hundreds of iterations in batches of {BATCH}: 400 are 17 epochs',
    ),
    (
        'supervised network',
        'DeiT-Tiny, ImageNet-1k',
        "the student's shape, from the labels of the toy world's objects",
    ),
    (
        'tasks',
        'ImageNet-1k, six small sets, COCO, ADE20K, LaSOT',
        'the same kinds in the toy world: 300 images to classify, 64 to detect and segment in, '
        '300 short videos to track in',
    ),
    ('fine-tuning', 'a recipe a method', 'one short recipe for all, fixed beforehand'),
    (
        'deviations',
        'none printed',
        'of seeds of the fine-tuning; each pre-training ran once',
    ),
)

CAVEATS = """\
A finding that appears here supports the papers only as far as this scale goes; one that does not
appear refutes nothing at theirs. Above all, a teacher that is little larger than its student, and
trained no better, is a weak form of distillation. The small real image sets have a scale of their
own, told in [Classification](classification.md#a-small-study-on-real-data)."""
