"""The words of refusals of a long prompt in languages other than English. No state, no network.

The words of `context_length.py` for Chinese in both scripts, Japanese, Korean, French, German, Spanish, Portuguese,
Italian, Dutch, Polish, Turkish and Russian, as regular expressions for lower-case text without accents. Inflected
words are given by their stems.
"""

import unicodedata

OTHER_SUBJECTS = (
    r"每分钟|每秒|每天|每日|今日|当日|本月|用量|速率|速度|频率|频繁|并发|额度|余额|配额|欠费|超时|等待时间|审核|敏感"
    r"|有效期"
    r"|(?<![和与及加、/+])输出(?:的|总)?(?:长度|内容|字数|\s*tokens?)|生成内容|输出超|工具|词表|用户名"
    r"|\b(?:id|name) ?(?:字段|长度|超)|密钥"
    r"|每分鐘|每日用量|頻率|頻繁|額度|餘額|配額|逾時"
    r"|分あたり|秒あたり|時間あたり|日あたり|毎分|毎秒|毎日|[0-9一]分間|[0-9一]日|レート|クォータ|割り?当て|残高"
    r"|課金|同時"
    r"|タイムアウト|処理時間|待ち|混雑|過負荷|(?<![とやも・/+])出力(?:トークン|長|文字|の)|ツール|メモリ|停止"
    r"|api ?키|월간|분당|초당|시간당|일일|하루|할당량|속도 ?제한|요율|빈도|동시|잔액|크레딧|시간 ?초과|타임아웃|대기"
    r"|과부하|메모리|도구"
    r"|(?<![와과/+])(?<![와과/+] )출력 ?(?:토큰|길이)"
    r"|\bpar (?:minute|seconde|heure|jour|mois)|\bdebit\b|\bsolde\b|mensuel|journalier|simultane|\bdelai"
    r"|temps (?:d'attente|maximal|de trait)"
    r"|file d'attente|surcharg|memoire|\boutils?\b|(?:jetons|tokens|longueur) (?:maximale )?de (?:la )?sortie"
    r"|\bpro (?:minute|sekunde|stunde|tag|monat)|taglich|monatlich|kontingent|guthaben|raten(?:limit|begrenzung)"
    r"|\brate\b|gleichzeitig"
    r"|zeituberschreitung|warteschlange|uberlastet|speicher|werkzeug|\bausgabe(?:lange|token)"
    r"|\bpor (?:minuto|segundo|hora|dia|mes)\b|\bdiari|mensua|\bcuota|\bcota\b|\bsaldo\b|\btasa\b|\btaxa\b"
    r"|frecuencia|frequencia|concurrente"
    r"|tiempo (?:de espera|max|limite)|tempo (?:de espera|max|limite)|\bcola\b|\bfila\b|sobrecarg|memoria"
    r"|(?:tokens|longitud|comprimento) de (?:la )?(?:salida|saida)|herramienta|ferramenta"
    r"|\bal (?:minuto|secondo|giorno|mese)\b|all'ora|giornalier|mensil|\bcoda\b|strumenti"
    r"|\b(?:token|lunghezza) (?:di|in) uscita"
    r"|wachtrij|geheugen|tegoed|na minut|na godzin|na dzien|kolejk|pamiec|dakika|saniye|gunluk|kota\b|bellek"
    r"|в (?:минуту|секунду|час|день|сутки|месяц)|за (?:минуту|секунду|час|день|сутки)|суточн|дневн|месячн|квот|баланс"
    r"|средств|тариф|частот|(?:лимит|количество|число) запросов|одновремен|параллел|\bврем|тайм-?аут|очеред|перегруж"
    r"|памят|инструмент|выходн\w* токен"
    r"|длин\w* (?:ответа|вывода)"
)
"""Rates, accounts, time, memory, tools, and the length of the answer."""
MEDIA = (
    r"图片|图像|音频|视频|文件|附件|圖片|圖像|音訊|影片|檔案|画像|音声|動画|ファイル|添付|이미지|사진|오디오|음성"
    r"|동영상|비디오|파일|첨부"
    r"|\bfichier|piece jointe|\bbild(?:er|s|es)?\b|\bdatei|\banhang|\bimagen|\barchivo|\badjunto|\bimagem|\bimagens"
    r"|\barquivo"
    r"|\banexo|\bimmagin|\ballegat|\bafbeelding|\bbestand|\bobraz|\bplik|\bgorsel|\bdosya|изображен|картин|\bфайл"
    r"|вложен"
    r"|аудио|видео"
)
SUBJECT = (
    r"输入|提示词?|上下文|对话|消息|内容|请求|文本|超[出过]了?模型"
    r"|輸入|提示詞|對話|訊息|內容|請求"
    r"|入力|プロンプト|メッセージ|リクエスト|コンテ[キク]スト|文脈|会話|テキスト|文章|(?:合計|総)トークン"
    r"|입력|프롬프트|메시지|요청|[컨콘]텍스트|문맥|대화|텍스트|총 ?토큰"
    r"|\bentrees?\b|\binvite\b|\brequete|\btexte\b|\bcontexte\b"
    r"|\beingabe|\banfrage|\bnachricht|\bkontext|\bunterhaltung|\bgesprach|\bkonversation"
    r"|\bentrada|\bsolicitud|\bpeticion|\bmensaje|\bconversacion|\btexto\b|\bcontexto\b"
    r"|\bsolicitacao|\brequisicao|\bpedido|\bmensage[mn]|\bconversa\b"
    r"|\brichiesta|\bmessaggi|\bconversazione|\btesto\b|\bcontesto\b"
    r"|\binvoer|\bverzoek|\bbericht|\bgesprek|\btekst\b|\bcontext(?:venster|lengte|limiet)|\bzapytani|\bwejsci"
    r"|\bwiadomosc|\bkontekst"
    r"|\bistem|\bgirdi|\bmesaj|\bmetin\b|\bbaglam|\bistek"
    r"|промпт|\bввод|\bвходн|\bзапрос|\bсообщени|\bдиалог|\bтекст|\bконтекст|подсказк"
)
EXCESS = (
    r"超过|超出|超长|过长|超限|大于|最大|太多|太长|已满|超過|超長|過長|大於|太長|已滿"
    r"|長(?:す|過)ぎ|多(?:す|過)ぎ|大き(?:す|過)ぎ|超え|上回|上限|以内|以下に|を満たし|オーバー"
    r"|너무 ?(?:길|긴|깁|많|크|큰|큽)|초과|넘[었는어습]|최대|상한|이하|이내"
    r"|\btrop (?:long|grand|volumineu|de )|\bdepass|\bexced|\bsuperieure? (?:a|au)\b|\bmaximal|\bau plus\b"
    r"|\bzu (?:lang|gross|groß|viel)|\buberschr|\bubersteig|\bmaximal|\bhochstens|\bmehr als\b"
    r"|\bdemasiad|\bmuy larg|\bsupera|\bsobrepas|\bmaxim[oa]|\bmas de\b|\bmuito (?:long|grande)|\blong[oa] demais"
    r"|\bultrapass|\bsuperior a\b|\bmais de\b|\bmuitos tokens|\btropp[oaie]\b|\becced|\bmassim[oa]"
    r"|\bte (?:lang|groot|veel)\b|\boverschr|\bza (?:dlug|duz)|\bzbyt\b|\bprzekr|\bmaksymaln"
    r"|\bcok (?:uzun|buyuk|fazla)|\bas(?:[iı]yor|[iı]ld[iı]|t[iı])\b|\ben fazla\b|\bazami\b|\bmaksimum\b"
    r"|слишком|превы[шс]|максимальн|максимум|больше|не более|длиннее"
)
MEASURE = (
    r"长度|上下文|超长|过长|太长|字数|字符|長度|過長|超長|太長|字數"
    r"|トークン|コンテ[キク]スト(?:長|ウ[ィイ]ンドウ|サイズ|の(?:長さ|上限|最大))|長(?:す|過)ぎ|文字数|長さ|最大長"
    r"|入力長"
    r"|토큰|길이|[컨콘]텍스트|너무 ?(?:길|긴|깁)|글자 ?수|문자 ?수"
    r"|\bjetons?\b|\blongueur|\b(?:fenetre|limite|taille)(?: maximale)? d[eu] contexte|\btrop long"
    r"|\bkontext(?:lange|fenster|gro|limit|window)|\b(?:eingabe|prompt|text|gesamt|maximal)lange|\blange\b|token\b"
    r"|\btokenanzahl|\bzu lang"
    r"|\b(?:ventana|limite|tamano|longitud)(?: maxim[oa])? del? contexto|\blongitud|\bdemasiado larg|\bmuy larg"
    r"|\b(?:janela|limite|tamanho|comprimento)(?: maxim[oa])? d[eo] contexto|\bcomprimento|\bmuito long"
    r"|\blong[oa] demais"
    r"|\b(?:finestra|limite|dimensione) (?:di|del) contesto|\blunghezza|\btroppo lung"
    r"|\bcontext(?:venster|lengte|limiet)|\blengte|\bte lang\b|\bdlugosc|\btoken(?:ow|y)\b|\b(?:za|zbyt) dlug"
    r"|\bkontekst"
    r"|\bcok uzun|\bbaglam (?:pencere|uzunlu|boyut|s[iı]n[iı]r)|\bbelirtec"
    r"|токен|\bдлин|контекстн\w* окн|(?:размер|лимит|окн[оа])(?: \w+)? (?:контекста|промпта)|слишком (?:длин|больш)"
)
PHRASES = r"トークン数?の(?:制限|上限)を(?:超|上回)|토큰 ?수?[가의] ?(?:최대 )?(?:한도|제한|상한)[를을] ?(?:초과|넘)"
"""Phrases like "token limit exceeded"."""


def strip_accents(text: str) -> str:
    """The text without accents on Latin letters, of the same length."""
    return text if text.isascii() else "".join(map(_base_letter, text))


def _base_letter(letter: str) -> str:
    base = unicodedata.normalize("NFD", letter)[0]
    return base if base.isascii() else letter
