"""Chinese phrases. A held-out phrase occurs in no training report."""

from selip_core.simulation.language import Language, Phrasings

CHINESE = Language(
    places={
        "left": "左侧{site}",
        "right": "右侧{site}",
        "bilateral": "双侧{sites}",
        "midline": "{site}",
    },
    sites={
        "frontal lobe": ("额叶", "额叶"),
        "parietal lobe": ("顶叶", "顶叶"),
        "temporal lobe": ("颞叶", "颞叶"),
        "occipital lobe": ("枕叶", "枕叶"),
        "insula": ("岛叶", "岛叶"),
        "basal ganglia": ("基底节区", "基底节区"),
        "thalamus": ("丘脑", "丘脑"),
        "corona radiata": ("放射冠", "放射冠"),
        "centrum semiovale": ("半卵圆中心", "半卵圆中心"),
        "periventricular white matter": ("侧脑室旁白质", "侧脑室旁白质"),
        "corpus callosum": ("胼胝体", "胼胝体"),
        "cerebellum": ("小脑半球", "小脑半球"),
        "brainstem": ("脑干", "脑干"),
    },
    signals={
        "high": Phrasings(("高信号", "异常高信号"), ("明显高信号",)),
        "slightly high": Phrasings(("稍高信号", "略高信号"), ("轻度高信号",)),
        "slightly low": Phrasings(("稍低信号", "略低信号"), ("轻度低信号",)),
        "low": Phrasings(("低信号", "异常低信号"), ("明显低信号",)),
        "mixed": Phrasings(("混杂信号", "不均匀信号"), ("高低混杂信号",)),
    },
    shapes={
        "round": "类圆形",
        "ovoid": "卵圆形",
        "mass": "团块状",
        "irregular": "不规则形",
        "patchy": "斑片状",
        "punctate": "多发点状",
        "confluent": "融合片状",
    },
    extents={"small": "小", "moderate": "中等", "large": "大"},
    sentences=Phrasings(
        (
            "{place}见{shape}{signal}影，范围{extent}。",
            "{modality}示{place}{shape}{signal}，范围{extent}。",
            "{place}可见{shape}病灶，范围{extent}，{modality}呈{signal}。",
        ),
        (
            "{modality}序列上，{place}存在{shape}病变，表现为{signal}，累及范围{extent}。",
            "于{place}发现{shape}{signal}异常，病变范围{extent}。",
        ),
    ),
    oedema=Phrasings(
        ("{sentence}周围可见水肿。", "{sentence}周边伴水肿带。"),
        ("{sentence}病灶周围脑组织肿胀。",),
    ),
    others=Phrasings(
        ("", "余脑实质未见明显异常信号。", "其余脑实质信号未见异常。"),
        ("其他部位未见异常。",),
    ),
    normal=Phrasings(
        (
            "{modality}示脑实质内未见明显异常信号。",
            "脑实质{modality}信号未见异常。",
            "{modality}未见明确病灶，脑实质信号正常。",
        ),
        ("{modality}序列上全脑表现正常。", "大脑、小脑及脑干{modality}均未发现病变。"),
    ),
    separator="",
)
