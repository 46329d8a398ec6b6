"""Captions in several languages, and vocabularies for tiny models that write them."""

CAPTIONS = {
    "en": [
        "A dog runs through the snow .",
        "Two men sit on a bench in the park .",
        "A woman with an umbrella",
    ],
    "de": [
        "Ein Hund rennt durch den Schnee.",
        "Zwei Männer sitzen auf einer Bank im Park.",
        "Die Frau mit dem Schirm",
    ],
    "fr": [
        "Un chien court dans la neige.",
        "Deux hommes sont assis sur un banc.",
        "Des gens dans la rue des marchands",
    ],
    "nl": [
        "Een hond rent door de sneeuw.",
        "Twee mannen zitten op een bank in het park.",
        "Een man staat in de zee",
    ],
    "af": [
        "Die hond hardloop in die sneeu.",
        "Die mans sit op die bank in die park.",
        "Die vrou en die kind",
    ],
    "hu": ["A kutya fut a hóban.", "A férfi a padon ül a parkban.", "Egy nő a piros ruhában és a gyerek"],
    "zh": ["一只狗在雪地里奔跑。", "两个男人坐在公园的长椅上。", "一个女人拿着伞"],
    "ar": ["كلب يركض في الثلج.", "رجلان يجلسان على مقعد في الحديقة.", "امرأة تحمل مظلة"],
}

# As many words as those of the tiny model, so that a model of the same seed writes the same ids.
CHINESE_WORDS = list("一只狗在雪地里奔跑着")
ARABIC_WORDS = ["كلب", "أسود", "قطة", "بيضاء", "يركض", "تجلس", "على", "العشب", "في", "الثلج"]
