"""What is known of each published data set: sizes, parts, terms, where its authors publish it and how it must lie on disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from rsagent.evaluation.published.class_names import CLASS_NAMES

Task = Literal["caption", "answer", "classify"]
ALL = "all"
"""The name of the part that holds every item; the only published one where the authors published no parts."""
DIGEST_PARTS = ("train", "val", "test")


@dataclass(frozen=True, slots=True)
class Published:
    """A data set as its authors published it.

    Attributes:
        name: what it is called here.
        task: what is asked of a model.
        title: what its authors call it, with what it is.
        images: how many images it has.
        splits: items (images, or questions where the task is `answer`) by part; {"all": n} where no parts were published.
        report: the part that results are reported on.
        terms: under which terms images and texts are published.
        home: project page, repository or paper.
        archives: what to download there.
        layout: how it must lie on disk, a line a path; the first path is the data set's own folder.
        folders: names of the folder that it is looked for in.
        style: the caption style of our prompts that is nearest, None where the task is another.
        note: what one should know before using it, "" for nothing.
    """

    name: str
    task: Task
    title: str
    images: int
    splits: Mapping[str, int]
    report: str
    terms: str
    home: str
    archives: tuple[str, ...]
    layout: tuple[str, ...]
    folders: tuple[str, ...]
    style: str | None = None
    note: str = ""

    @property
    def divided_here(self) -> bool:
        """Whether the authors published no parts, so that a digest of the file name makes train, val and test."""
        return ALL in self.splits

    @property
    def parts(self) -> tuple[str, ...]:
        """Every part that can be opened."""
        return (*(DIGEST_PARTS if self.divided_here else self.splits), ALL)

    @property
    def classes(self) -> Mapping[str, str]:
        """Folder of a class -> the class in words, the closed list; empty where the task is another."""
        return CLASS_NAMES.get(self.name, {})


_ENTRIES = (
    Published(
        "ucm-captions", "caption", "UCM-Captions: five captions of each image of UC Merced", 2100,
        {"train": 1680, "val": 210, "test": 210}, "test", "imagery USGS, public domain; captions: none stated",
        "https://github.com/201528014227051/RSICD_optimal", ("UCM_captions.zip, linked from the README",),
        ("UCM_captions/", "UCM_captions/dataset.json", "UCM_captions/imgs/1.tif ... 2100.tif"),
        ("UCM_captions", "UCM-Captions"), "ucm",
        "11 training images whose captions describe farmland that is not there are left out of the part train",
    ),
    Published(
        "sydney-captions", "caption", "Sydney-Captions: five captions of each image", 613,
        {"train": 497, "val": 58, "test": 58}, "test", "none stated",
        "https://github.com/201528014227051/RSICD_optimal", ("Sydney_captions.zip, linked from the README",),
        ("Sydney_captions/", "Sydney_captions/dataset.json", "Sydney_captions/imgs/1.tif ... 613.tif"),
        ("Sydney_captions", "Sydney-Captions"), "ucm",
    ),
    Published(
        "rsicd", "caption", "RSICD: five captions of each image, 30 scene classes", 10921,
        {"train": 8734, "val": 1094, "test": 1093}, "test", "research use",
        "https://github.com/201528014227051/RSICD_optimal", ("dataset_rsicd.json", "RSICD_images.zip"),
        ("RSICD/", "RSICD/dataset_rsicd.json", "RSICD/RSICD_images/*.jpg"), ("RSICD", "RSICD_optimal"), "rsicd",
        "half of the images repeat one sentence five times",
    ),
    Published(
        "nwpu-captions", "caption", "NWPU-Captions: five captions of each image of NWPU-RESISC45", 31500,
        {"train": 25200, "val": 3150, "test": 3150}, "test", "none stated",
        "https://github.com/HaiyanHuang98/NWPU-Captions", ("dataset_nwpu.json", "NWPU_images.tar.gz"),
        ("NWPU-Captions/", "NWPU-Captions/dataset_nwpu.json", "NWPU-Captions/NWPU_images/airplane/airplane_001.jpg ..."),
        ("NWPU-Captions", "NWPU_Captions"), "rsicd",
        "the authors' archive lacks airplane_111.jpg; NWPU-RESISC45/ beside it serves as the folder of images as well",
    ),
    Published(
        "rsicap", "caption", "RSICap: one long caption of each image, crops of DOTA", 2585, {"train": 2585}, "train",
        "none stated; images of DOTA: academic use only", "https://github.com/Lavender105/RSGPT",
        ("dataset/RSICap in the repository",),
        ("RSICap/", "RSICap/captions.json", "RSICap/images/P0000_0018.png ..."), ("RSICap",), "detailed",
        "for training alone: RSIEval is its test set",
    ),
    Published(
        "rsieval-captions", "caption", "RSIEval: one long caption of each image, crops of DOTA", 100, {"test": 100}, "test",
        "none stated; images of DOTA: academic use only", "https://github.com/Lavender105/RSGPT",
        ("dataset/RSIEval in the repository",),
        ("RSIEval/", "RSIEval/annotations.json", "RSIEval/images/P1384_0054.png ..."), ("RSIEval",), "detailed",
    ),
    Published(
        "rsieval-vqa", "answer", "RSIEval: open questions of ten types", 100, {"test": 935}, "test",
        "none stated; images of DOTA: academic use only", "https://github.com/Lavender105/RSGPT",
        ("dataset/RSIEval in the repository",),
        ("RSIEval/", "RSIEval/annotations.json", "RSIEval/images/P1384_0054.png ..."), ("RSIEval",),
        note="936 questions, of which one is empty and left out; the authors judged answers by hand",
    ),
    Published(
        "rsvqa-lr", "answer", "RSVQA-LR: questions made from OpenStreetMap on Sentinel-2, 10 m", 772,
        {"train": 57223, "val": 10005, "test": 10004}, "test", "CC-BY-4.0", "https://rsvqa.sylvainlobry.com",
        ("Images_LR.zip", "LR_split_{train,val,test}_{questions,answers}.json, from Zenodo record 6344334"),
        ("RSVQA_LR/", "RSVQA_LR/LR_split_test_questions.json, ..._answers.json", "RSVQA_LR/Images_LR/0.tif ... 771.tif"),
        ("RSVQA_LR", "RSVQA-LR"),
    ),
    Published(
        "rsvqa-hr", "answer", "RSVQA-HR: questions made from OpenStreetMap on USGS orthophotos, 0.15 m", 10659,
        {"train": 625340, "val": 102843, "test": 222684, "test_phili": 105647}, "test", "CC-BY-4.0",
        "https://rsvqa.sylvainlobry.com",
        ("Images.tar", "USGS_split_{train,val,test,test_phili}_{questions,answers}.json, from Zenodo record 6344367"),
        ("RSVQA_HR/", "RSVQA_HR/USGS_split_test_questions.json, ..._answers.json", "RSVQA_HR/Data/0.tif ..."),
        ("RSVQA_HR", "RSVQA-HR"), note="test_phili shows a city that is in no other part",
    ),
    Published(
        "rsivqa", "answer", "RSIVQA: questions on images of UCM, Sydney, RSICD, HRRSD and DOTA", 37263, {"all": 111693},
        "test", "none stated; each source of images has its own terms", "https://github.com/spectralpublic/RSIVQA",
        ("the repository, which holds the questions", "the images, from each data set's own page"),
        ("RSIVQA/", "RSIVQA/UCM/ucm_vqa.txt, RSIVQA/UCM/ucm_res.txt", "RSIVQA/Sydney/sydney_vqa.txt",
         "RSIVQA/AID/rsicd_vqa.txt (its images are those of RSICD)", "RSIVQA/HRRSD/opt_val_vqa.txt",
         "RSIVQA/DOTA/dota_train_vqa2.txt, RSIVQA/DOTA/dota_val_vqa2.txt", "UCM_captions/imgs/1.tif ... beside it",
         "Sydney_captions/imgs/1.tif ... beside it", "RSICD/RSICD_images/*.jpg beside it",
         "HRRSD/JPEGImages/00001.jpg ... beside it", "DOTA/images/P0000.png ... beside it"),
        ("RSIVQA", "UCM_captions"),
        note="images of a caption data set are in the part that their captions are in; questions without images are left out",
    ),
    Published(
        "vrsbench-captions", "caption", "VRSBench: one long caption of each image of DOTA and DIOR", 29614,
        {"train": 20264, "val": 9350}, "val", "CC-BY-4.0; images of DOTA: academic use only", "https://vrsbench.github.io",
        ("Images_train.zip, Images_val.zip", "VRSBench_train.json, VRSBench_EVAL_Cap.json", "on the hub: xiang709/VRSBench"),
        ("VRSBench/", "VRSBench/VRSBench_EVAL_Cap.json", "VRSBench/VRSBench_train.json (for the part train)",
         "VRSBench/Images_val/*.png", "VRSBench/Images_train/*.png (for the part train)"),
        ("VRSBench",), "detailed", "the authors evaluate on val; there is no other test part",
    ),
    Published(
        "vrsbench-vqa", "answer", "VRSBench: questions of twelve types on images of DOTA and DIOR", 29614,
        {"train": 85813, "val": 37409}, "val", "CC-BY-4.0; images of DOTA: academic use only", "https://vrsbench.github.io",
        ("Images_train.zip, Images_val.zip", "VRSBench_train.json, VRSBench_EVAL_vqa.json", "on the hub: xiang709/VRSBench"),
        ("VRSBench/", "VRSBench/VRSBench_EVAL_vqa.json", "VRSBench/VRSBench_train.json (for the part train)",
         "VRSBench/Images_val/*.png", "VRSBench/Images_train/*.png (for the part train)"),
        ("VRSBench",), note="the questions of train have no type; the authors evaluate on val",
    ),
    Published(
        "ucm", "classify", "UC Merced land use, 21 classes", 2100, {"all": 2100}, "test", "imagery USGS, public domain",
        "http://weegee.vision.ucmerced.edu/datasets/landuse.html", ("UCMerced_LandUse.zip",),
        ("UCMerced_LandUse/", "UCMerced_LandUse/Images/agricultural/agricultural00.tif ..."),
        ("UCMerced_LandUse", "UCM", "UCM_captions"), note="read from UCM_captions/ as well, whose parts it takes over",
    ),
    Published(
        "nwpu-resisc45", "classify", "NWPU-RESISC45, 45 scene classes", 31500, {"all": 31500}, "test", "research use",
        "https://gcheng-nwpu.github.io", ("NWPU-RESISC45.rar",),
        ("NWPU-RESISC45/", "NWPU-RESISC45/airplane/airplane_001.jpg ..."), ("NWPU-RESISC45", "NWPU_RESISC45", "RESISC45"),
    ),
    Published(
        "aid", "classify", "AID, 30 scene classes", 10000, {"all": 10000}, "test", "research use",
        "https://captain-whu.github.io/AID/", ("AID.zip",), ("AID/", "AID/Airport/airport_1.jpg ..."), ("AID",),
    ),
    Published(
        "whu-rs19", "classify", "WHU-RS19, 19 scene classes", 1005, {"all": 1005}, "test", "research use",
        "https://captain-whu.github.io/BED4RS/", ("WHU-RS19.zip",),
        ("WHU-RS19/", "WHU-RS19/Airport/airport_01.jpg ..."), ("WHU-RS19", "RS19"),
    ),
    Published(
        "siri-whu", "classify", "SIRI-WHU (Google), 12 scene classes, 2 m", 2400, {"all": 2400}, "test", "research use",
        "http://www.lmars.whu.edu.cn/prof_web/zhongyanfei/e-code.html", ("Google dataset of SIRI-WHU",),
        ("SIRI-WHU/", "SIRI-WHU/12class_tif/agriculture/0001.tif ..."), ("SIRI-WHU", "12class_tif"),
        note="pond/0002.tif is smaller than the others",
    ),
    Published(
        "eurosat", "classify", "EuroSAT (RGB), 10 land-use classes on Sentinel-2", 27000, {"all": 27000}, "test", "MIT",
        "https://github.com/phelber/EuroSAT", ("EuroSAT_RGB.zip (EuroSAT.zip of 2018 unpacks to 2750/)",),
        ("EuroSAT_RGB/", "EuroSAT_RGB/AnnualCrop/AnnualCrop_1.jpg ..."), ("EuroSAT_RGB", "EuroSAT", "2750"),
    ),
)  # fmt: skip

CATALOGUE: Mapping[str, Published] = {entry.name: entry for entry in _ENTRIES}
"""Every data set that can be read, by name."""
